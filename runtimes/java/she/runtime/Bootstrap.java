package she.runtime;

import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * Runs an AWS Lambda handler written for the JVM: asks the Runtime API for the event, calls the handler, reports.
 * Format: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
 */
public final class Bootstrap {
    private static final String API = System.getenv("AWS_LAMBDA_RUNTIME_API");

    /** Given up when memory runs out, so that there is some to say so. */
    private static byte[] reserve = new byte[2 << 20];

    /** What Lambda calls an error that is not of the function's own making, or not only. */
    static final class Fault extends Exception {
        private static final long serialVersionUID = 1;
        final String type;

        Fault(String type, String message, Throwable cause) {
            super(message, cause);
            this.type = type;
        }
    }

    private static final class Reply {
        final Map<String, String> headers = new HashMap<>();
        byte[] body = {};
    }

    public static void main(String[] args) throws Exception {
        Handler handler = null;
        Fresh fresh = null;
        try {
            handler = Handler.find(System.getenv("_HANDLER"));
            fresh = new Fresh(handler);
            warm(fresh);
        } catch (Throwable e) {
            report("init/error", e);
            Runtime.getRuntime().halt(1);
        }
        for (;;) {
            Reply next = request("GET", "invocation/next", null, null);
            fresh.randomness();
            answerOne(handler, next);
        }
    }

    private static void answerOne(Handler handler, Reply next) throws IOException {
        String path = "invocation/" + next.headers.get("lambda-runtime-aws-request-id") + "/";
        System.setProperty("com.amazonaws.xray.traceHeader", next.headers.getOrDefault("lambda-runtime-trace-id", ""));
        byte[] answer;
        try {
            answer = handler.call(next.body, new Invocation(next.headers));
        } catch (Throwable e) {
            report(path + "error", e);
            return;
        }
        System.out.flush();
        System.err.flush();
        request("POST", path + "response", answer, null);
    }

    /** Loads before the event, and so before a copy is made, what will be needed after it. Runs nothing of the author's. */
    private static void warm(Fresh fresh) throws Exception {
        fresh.randomness();
        Values any = Values.of(Map.class, Bootstrap.class.getClassLoader());
        any.write(any.read("{\"a\":[1,-2.5e3,true,null,\"\\u00e9\"],\"b\":{\"c\":12345678901234567890}}".getBytes(StandardCharsets.UTF_8)));
        text(document(new Fault("", "", new IOException(new IOException()))));
        new Invocation(new HashMap<>()).getRemainingTimeInMillis();
    }

    /** A function's error in Lambda's form. */
    private static Map<String, Object> document(Throwable error) {
        Map<String, Object> d = new LinkedHashMap<>();
        Throwable shown = error;
        String type = error.getClass().getName();
        if (error instanceof Fault) {
            type = ((Fault) error).type;
            shown = error.getCause() == null ? error : error.getCause();
        }
        d.put("errorMessage", error.getMessage());
        d.put("errorType", type);
        d.put("stackTrace", trace(shown));
        Throwable cause = shown.getCause();
        Map<String, Object> at = d;
        for (int i = 0; cause != null && i < 10; i++, cause = cause.getCause()) {
            Map<String, Object> inner = new LinkedHashMap<>();
            inner.put("errorMessage", cause.getMessage());
            inner.put("errorType", cause.getClass().getName());
            inner.put("stackTrace", trace(cause));
            at.put("cause", inner);
            at = inner;
        }
        return d;
    }

    /** The function's own frames: from where it happened to where we called. */
    private static List<String> trace(Throwable error) {
        List<String> lines = new ArrayList<>();
        for (StackTraceElement f : error.getStackTrace()) {
            if (f.getClassName().startsWith("she.runtime.")) {
                break;
            }
            lines.add(f.toString());
        }
        while (!lines.isEmpty() && lines.get(lines.size() - 1).matches("(java\\.base/)?(java\\.lang\\.reflect|jdk\\.internal\\.reflect)\\..*")) {
            lines.remove(lines.size() - 1);
        }
        return lines.subList(0, Math.min(lines.size(), 200));
    }

    /** The same for the log. */
    private static String text(Map<?, ?> document) {
        StringBuilder s = new StringBuilder("[ERROR] ");
        for (Map<?, ?> d = document; d != null; d = (Map<?, ?>) d.get("cause")) {
            s.append(d == document ? "" : "Caused by: ").append(d.get("errorType")).append(": ").append(d.get("errorMessage")).append('\n');
            for (Object line : (List<?>) d.get("stackTrace")) {
                s.append("\tat ").append(line).append('\n');
            }
        }
        return s.toString();
    }

    private static void report(String path, Throwable error) {
        try {
            String type = error instanceof Fault ? ((Fault) error).type : error.getClass().getName();
            if (error instanceof OutOfMemoryError) {
                reserve = null;
                type = "Runtime.OutOfMemory";
            }
            Map<String, Object> d = document(error);
            System.out.flush();
            System.err.print(text(d));
            System.err.flush();
            request("POST", path, Json.write(d), type);
        } catch (Throwable again) {
            Runtime.getRuntime().halt(1); // no memory or no one to tell: the exit tells
        }
    }

    /** What requests go over; kept for the next one. */
    private static Socket connection;
    private static InputStream replies;

    /** Sends one request to the Runtime API and gives what it said. */
    private static Reply request(String method, String path, byte[] body, String errorType) throws IOException {
        StringBuilder head = new StringBuilder(method + " /2018-06-01/runtime/" + path + " HTTP/1.1\r\nHost: " + API + "\r\n");
        if (body != null) {
            head.append("Content-Type: application/json\r\nContent-Length: " + body.length + "\r\n");
        }
        if (errorType != null) {
            head.append("Lambda-Runtime-Function-Error-Type: " + plain(errorType) + "\r\n");
        }
        byte[] first = head.append("\r\n").toString().getBytes(StandardCharsets.ISO_8859_1);
        if (connection != null) {
            try {
                return exchange(first, body);
            } catch (IOException e) {
                hangUp(); // a function may close what it did not open
            }
        }
        int colon = API.lastIndexOf(':');
        connection = new Socket(API.substring(0, colon), Integer.parseInt(API.substring(colon + 1)));
        connection.setTcpNoDelay(true);
        replies = new BufferedInputStream(connection.getInputStream(), 1 << 16);
        return exchange(first, body);
    }

    private static Reply exchange(byte[] head, byte[] body) throws IOException {
        OutputStream out = connection.getOutputStream();
        if (body != null && body.length <= 1 << 16) { // one packet wakes the other side once
            byte[] both = Arrays.copyOf(head, head.length + body.length);
            System.arraycopy(body, 0, both, head.length, body.length);
            head = both;
            body = null;
        }
        try {
            out.write(head);
            if (body != null) {
                out.write(body);
            }
        } catch (IOException tooLarge) {
            // The reply says so, if it still can be read; the other side knows anyway.
        }
        Reply r = read(replies);
        if ("close".equals(r.headers.get("connection"))) {
            hangUp();
        }
        return r;
    }

    private static void hangUp() throws IOException {
        connection.close();
        connection = null;
    }

    private static Reply read(InputStream in) throws IOException {
        Reply r = new Reply();
        for (String line = line(in); !(line = line(in)).isEmpty(); ) {
            int colon = line.indexOf(':');
            if (colon > 0) {
                r.headers.put(line.substring(0, colon).toLowerCase(Locale.ROOT), line.substring(colon + 1).trim());
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

    private static String plain(String name) {
        String s = name.replaceAll("[^A-Za-z0-9_.]", "");
        return s.substring(0, Math.min(s.length(), 100));
    }
}
