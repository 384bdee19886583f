package she.runtime;

import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Proxy;
import java.net.Socket;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import java.nio.channels.spi.SelectorProvider;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;

/**
 * Speaks to the Runtime API over one connection. It is opened before the function's code is loaded, so the function's
 * proxies, socket factories, security manager and standard streams do not affect it.
 */
final class Api {
    private static final String ADDRESS = Bootstrap.ENV.get("AWS_LAMBDA_RUNTIME_API");
    private static final SelectorProvider PROVIDER = SelectorProvider.provider();

    static final class Reply {
        final Map<String, String> headers = new HashMap<>();
        byte[] body = {};
    }

    /** What requests go over; kept for the next one. */
    private static OutputStream requests;
    private static InputStream replies;

    private Api() {}

    private static InetSocketAddress address() throws IOException {
        int colon = ADDRESS.lastIndexOf(':');
        return new InetSocketAddress(InetAddress.getByName(ADDRESS.substring(0, colon)), Integer.parseInt(ADDRESS.substring(colon + 1)));
    }

    /** Opens the connection. It is one that Thread.interrupt does not close, as it would a channel. */
    static void open() throws IOException {
        Socket s = new Socket(Proxy.NO_PROXY);
        s.connect(address());
        s.setTcpNoDelay(true);
        use(s.getOutputStream(), s.getInputStream());
    }

    /** Loads what a request takes, by one for nothing. */
    static void warm() throws IOException {
        request("GET", "", null, "Warm");
    }

    private static void use(OutputStream out, InputStream in) {
        requests = out;
        replies = new BufferedInputStream(in, 1 << 16);
    }

    /** Opens another one. The function may have set by now how sockets are made, not how channels are. */
    private static void reopen() throws IOException {
        boolean interrupted = Thread.interrupted();
        SocketChannel c = PROVIDER.openSocketChannel();
        c.connect(address());
        use(Channels.newOutputStream(c), Channels.newInputStream(c));
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    /** Sends one request and gives what was said. */
    static Reply request(String method, String path, byte[] body, String errorType) throws IOException {
        StringBuilder head = new StringBuilder(method + " /2018-06-01/runtime/" + path + " HTTP/1.1\r\nHost: " + ADDRESS + "\r\n");
        if (body != null) {
            head.append("Content-Type: application/json\r\nContent-Length: " + body.length + "\r\n");
        }
        if (errorType != null) {
            head.append("Lambda-Runtime-Function-Error-Type: " + plain(errorType) + "\r\n");
        }
        byte[] first = head.append("\r\n").toString().getBytes(StandardCharsets.ISO_8859_1);
        if (requests != null) {
            try {
                return exchange(first, body);
            } catch (IOException e) {
                hangUp(); // a function may have closed it
            }
        }
        reopen();
        return exchange(first, body);
    }

    private static Reply exchange(byte[] head, byte[] body) throws IOException {
        if (body != null && body.length <= 1 << 16) { // one packet wakes the other side only once
            byte[] both = Arrays.copyOf(head, head.length + body.length);
            System.arraycopy(body, 0, both, head.length, body.length);
            head = both;
            body = null;
        }
        try {
            requests.write(head);
            if (body != null) {
                requests.write(body);
            }
        } catch (IOException tooLarge) {
            // The reply says so, if it can still be read. The other side knows in any case.
        }
        Reply r = read(replies);
        if ("close".equals(r.headers.get("connection"))) {
            hangUp();
        }
        return r;
    }

    private static void hangUp() {
        try {
            requests.close();
        } catch (IOException e) {
            // It is closed already.
        }
        requests = null;
    }

    private static Reply read(InputStream in) throws IOException {
        Reply r = new Reply();
        for (String line = line(in); !(line = line(in)).isEmpty(); ) {
            int colon = line.indexOf(':');
            if (colon > 0) {
                r.headers.put(lower(line.substring(0, colon)), line.substring(colon + 1).trim());
            }
        }
        r.body = in.readNBytes(Integer.parseInt(r.headers.get("content-length")));
        return r;
    }

    private static String line(InputStream in) throws IOException {
        ByteArrayOutputStream text = new ByteArrayOutputStream();
        for (int c; (c = in.read()) != '\n'; text.write(c)) {
            if (c < 0) {
                throw new IOException("the Runtime API hung up");
            }
        }
        return text.toString("ISO-8859-1").trim();
    }

    private static String lower(String name) {
        return name.toLowerCase(java.util.Locale.ROOT);
    }

    private static String plain(String name) {
        String s = name.replaceAll("[^A-Za-z0-9_.]", "");
        return s.substring(0, Math.min(s.length(), 100));
    }
}
