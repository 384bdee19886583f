package hostile;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.io.RandomAccessFile;
import java.lang.management.ManagementFactory;
import java.lang.reflect.Field;
import java.net.Authenticator;
import java.net.CookieHandler;
import java.net.CookieManager;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ProxySelector;
import java.net.Proxy;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketAddress;
import java.net.URI;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.security.Provider;
import java.security.Security;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SimpleTimeZone;
import java.util.TimeZone;
import java.util.Timer;
import java.util.TimerTask;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ForkJoinPool;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import javax.management.ObjectName;

/** As hostile.py. */
public class Hostile {
    private interface Leave {
        void put(String mark) throws Exception;
    }

    private interface Find {
        Object get() throws Exception;
    }

    private static String mark;
    private static String heard;
    private static final Map<String, Object> kept = new ConcurrentHashMap<>();
    private static final ThreadLocal<String> local = new ThreadLocal<>();
    private static final InheritableThreadLocal<String> inherited = new InheritableThreadLocal<>();
    private static final Logger logger = Logger.getLogger("she");
    private static List<Object> leaked = Collections.synchronizedList(new ArrayList<>());
    private final List<String> own = new ArrayList<>();
    private final Map<String, Leave> leaves = new LinkedHashMap<>();
    private final Map<String, Find> finds = new LinkedHashMap<>();

    private void place(String name, Leave leave, Find find) {
        leaves.put(name, leave);
        finds.put(name, find);
    }

    private static final class Marked extends PrintStream {
        final String mark;

        Marked(OutputStream to, String mark) {
            super(to, true);
            this.mark = mark;
        }
    }

    private static final class OwnLoader extends URLClassLoader {
        final String mark;

        OwnLoader(String mark, ClassLoader parent) {
            super(new URL[0], parent);
            this.mark = mark;
        }
    }

    private static final class OwnProvider extends Provider {
        private static final long serialVersionUID = 1;

        OwnProvider(String mark) {
            super("She", "1", mark);
        }
    }

    public interface OwnBeanMBean {
        String getMark();
    }

    public static final class OwnBean implements OwnBeanMBean {
        private final String mark;

        OwnBean(String mark) {
            this.mark = mark;
        }

        public String getMark() {
            return mark;
        }
    }

    private static final class OwnHandler extends Handler {
        final String mark;

        OwnHandler(String mark) {
            this.mark = mark;
        }

        public void publish(LogRecord r) {}

        public void flush() {}

        public void close() {}
    }

    private static Field bootstrap(String type, String name) throws Exception {
        Field f = Class.forName("she.runtime." + type).getDeclaredField(name);
        f.setAccessible(true);
        return f;
    }

    public Hostile() {
        place("static-field", m -> mark = m, () -> mark);
        place("handler-field", own::add, () -> own.isEmpty() ? null : own.get(own.size() - 1));
        place("bootstrap-field", m -> bootstrap("Bootstrap", "reserve").set(null, m.getBytes()),
            () -> new String((byte[]) bootstrap("Bootstrap", "reserve").get(null), StandardCharsets.ISO_8859_1));
        place("thread-local", local::set, local::get);
        place("inherited-thread-local", inherited::set, inherited::get);
        place("thread-name", m -> Thread.currentThread().setName(m), () -> Thread.currentThread().getName());
        place("thread", m -> {
            Thread t = new Thread(() -> {
                for (;;) {
                    heard = m;
                    try {
                        Thread.sleep(10);
                    } catch (InterruptedException e) {
                        return;
                    }
                }
            });
            t.setDaemon(true);
            t.start();
        }, () -> heard);
        place("timer", m -> new Timer("timer " + m, true).schedule(new TimerTask() {
            public void run() {
                kept.put("timer", m);
            }
        }, 0, 10), () -> kept.get("timer"));
        place("pool", m -> ForkJoinPool.commonPool().submit(() -> kept.put("pool", m)).join(), () -> kept.get("pool"));
        place("property", m -> System.setProperty("she.mark", m), () -> System.getProperty("she.mark"));
        place("security-property", m -> Security.setProperty("she.mark", m), () -> Security.getProperty("she.mark"));
        place("provider", m -> {
            Security.removeProvider("She");
            Security.addProvider(new OwnProvider(m));
        }, () -> Security.getProvider("She").getInfo());
        place("out", m -> System.setOut(new Marked(System.out, m)), () -> ((Marked) System.out).mark);
        place("err", m -> System.setErr(new Marked(System.err, m)), () -> ((Marked) System.err).mark);
        place("in", m -> System.setIn(new java.io.ByteArrayInputStream(m.getBytes())), () -> {
            System.in.mark(1000);
            byte[] b = System.in.readNBytes(100);
            System.in.reset();
            return new String(b);
        });
        place("uncaught-handler", m -> Thread.setDefaultUncaughtExceptionHandler(new Thread.UncaughtExceptionHandler() {
            public void uncaughtException(Thread t, Throwable e) {}

            public String toString() {
                return m;
            }
        }), Thread::getDefaultUncaughtExceptionHandler);
        place("class-loader", m -> Thread.currentThread().setContextClassLoader(new OwnLoader(m, Hostile.class.getClassLoader())),
            () -> ((OwnLoader) Thread.currentThread().getContextClassLoader()).mark);
        place("locale", m -> Locale.setDefault(new Locale("en", "GB", m)), Locale::getDefault);
        place("time-zone", m -> TimeZone.setDefault(new SimpleTimeZone(0, m)), () -> TimeZone.getDefault().getID());
        place("proxy", m -> ProxySelector.setDefault(new ProxySelector() {
            public List<Proxy> select(URI uri) {
                return List.of(Proxy.NO_PROXY);
            }

            public void connectFailed(URI uri, SocketAddress at, IOException e) {}

            public String toString() {
                return m;
            }
        }), ProxySelector::getDefault);
        place("cookies", m -> {
            CookieManager c = new CookieManager();
            c.put(URI.create("http://she/"), Map.of("Set-Cookie", List.of("m=" + m)));
            CookieHandler.setDefault(c);
        }, () -> CookieHandler.getDefault().get(URI.create("http://she/"), Map.of()));
        place("authenticator", m -> Authenticator.setDefault(new Authenticator() {
            public String toString() {
                return m;
            }
        }), Authenticator::getDefault);
        place("log-handler", m -> logger.addHandler(new OwnHandler(m)), () -> ((OwnHandler) logger.getHandlers()[logger.getHandlers().length - 1]).mark);
        place("managed-bean", m -> {
            ObjectName name = new ObjectName("she:type=Own");
            if (ManagementFactory.getPlatformMBeanServer().isRegistered(name)) {
                ManagementFactory.getPlatformMBeanServer().unregisterMBean(name);
            }
            ManagementFactory.getPlatformMBeanServer().registerMBean(new OwnBean(m), name);
        }, () -> ManagementFactory.getPlatformMBeanServer().getAttribute(new ObjectName("she:type=Own"), "Mark"));
        place("environment", m -> {
            // The map behind System.getenv, as far as reflection comes.
            Class<?> c = Class.forName("java.util.Collections$UnmodifiableMap");
            Field f = c.getDeclaredField("m");
            f.setAccessible(true);
            @SuppressWarnings("unchecked")
            Map<String, String> all = (Map<String, String>) f.get(System.getenv());
            all.put("SHE_MARK", m);
        }, () -> System.getenv("SHE_MARK"));
        place("child", m -> new ProcessBuilder("/bin/sh", "-c", "sleep 30; : " + m).start(), () -> {
            String found = null;
            for (File f : new File("/proc").listFiles((d, n) -> n.matches("\\d+"))) {
                try {
                    String line = Files.readString(Paths.get(f.getPath(), "cmdline"), StandardCharsets.ISO_8859_1);
                    found = line.contains("sleep 30; : ") ? line : found;
                } catch (IOException gone) {
                    continue;
                }
            }
            return found;
        });
        place("listener", m -> {
            if (kept.get("listener") != null) {
                ((ServerSocket) kept.get("listener")).close();
            }
            ServerSocket s = new ServerSocket();
            s.setReuseAddress(true);
            s.bind(new InetSocketAddress("127.0.0.1", Integer.parseInt(System.getenv("PORT"))));
            kept.put("listener", s);
            Thread t = new Thread(() -> {
                try {
                    for (;;) {
                        try (Socket c = s.accept()) {
                            c.getOutputStream().write(m.getBytes());
                        }
                    }
                } catch (IOException closed) {
                    return;
                }
            });
            t.setDaemon(true);
            t.start();
        }, () -> {
            try (Socket s = new Socket("127.0.0.1", Integer.parseInt(System.getenv("PORT")))) {
                return new String(s.getInputStream().readAllBytes());
            }
        });
        place("open-file", m -> {
            RandomAccessFile f = new RandomAccessFile("/tmp/she-deleted", "rw");
            f.write(m.getBytes());
            Files.delete(Paths.get("/tmp/she-deleted"));
            leaked.add(0, f);
        }, () -> {
            String found = null;
            for (File f : new File("/proc/self/fd").listFiles()) {
                try {
                    if (Files.readSymbolicLink(f.toPath()).toString().contains("(deleted)")) {
                        found = Files.readString(f.toPath(), StandardCharsets.ISO_8859_1);
                    }
                } catch (IOException | UnsupportedOperationException gone) {
                    continue;
                }
            }
            return found;
        });
        for (String name : new String[] {"/tmp", "/dev/shm"}) {
            Path path = Paths.get(name, "she-left");
            place(name.substring(name.lastIndexOf('/') + 1), m -> Files.writeString(path, m), () -> Files.readString(path));
        }
    }

    @SuppressWarnings("unchecked")
    public Object handle(Map<String, Object> e, com.amazonaws.services.lambda.runtime.Context context) throws Exception {
        String m = (String) e.get("mark");
        long millis = e.containsKey("millis") ? ((Number) e.get("millis")).longValue() : 0;
        switch ((String) e.get("do")) {
            case "leave": return leave(m);
            case "find": return find(millis);
            case "hold": {
                double began = now();
                leave(m);
                double left = now();
                Thread.sleep(millis);
                return Map.of("began", began, "left", left, "ended", now());
            }
            case "exit": {
                Runtime.getRuntime().addShutdownHook(new Thread(() -> {
                    System.out.print(m);
                    System.out.flush();
                }));
                if (Boolean.TRUE.equals(e.get("exit"))) {
                    System.exit(0);
                }
                return null;
            }
            case "speak": return speak(e, context.getAwsRequestId(), m, millis);
            case "frames": return frames((List<String>) e.get("paths"), (String) e.get("frame"), m);
            case "send": return send((String) e.get("target"), m);
            case "fail": throw new IllegalStateException(m, new IOException(m));
            default: throw new IllegalArgumentException();
        }
    }

    private static double now() {
        return System.currentTimeMillis() / 1000.0;
    }

    private Object leave(String m) {
        List<String> left = new ArrayList<>();
        leaves.forEach((name, place) -> {
            try {
                place.put(m);
                left.add(name);
            } catch (Exception | LinkageError failure) {
                System.err.println(name + ": " + failure);
            }
        });
        return left;
    }

    private Object find(long millis) throws Exception {
        Map<String, String> found = new LinkedHashMap<>();
        long until = System.nanoTime() + millis * 1_000_000;
        for (;;) {
            finds.forEach((name, place) -> {
                try {
                    String text = String.valueOf(place.get());
                    if (text.contains("shemark")) {
                        found.putIfAbsent(name, text);
                    }
                } catch (Exception | LinkageError nothing) {
                    return;
                }
            });
            if (System.nanoTime() >= until) {
                return found;
            }
            Thread.sleep(20);
        }
    }

    private static String raw(String request, String id) {
        String[] at = System.getenv("AWS_LAMBDA_RUNTIME_API").split(":");
        try (Socket s = new Socket(at[0], Integer.parseInt(at[1]))) {
            s.setSoTimeout(20_000);
            try {
                s.getOutputStream().write(request.replace("{id}", id).getBytes(StandardCharsets.UTF_8));
            } catch (IOException refused) {
                // The reply may say why.
            }
            StringBuilder line = new StringBuilder();
            InputStream in = s.getInputStream();
            for (int c; (c = in.read()) >= 0 && c != '\n'; ) {
                line.append((char) c);
            }
            return line.toString().trim();
        } catch (IOException failure) {
            return failure.toString();
        }
    }

    @SuppressWarnings("unchecked")
    private static Object speak(Map<String, Object> e, String id, String m, long millis) throws Exception {
        String large = "h".repeat(((Number) e.getOrDefault("large", 0)).intValue());
        List<String> replies = new ArrayList<>();
        for (String request : (List<String>) e.getOrDefault("now", List.of())) {
            replies.add(raw(request.replace("{large}", large), id));
        }
        Thread t = new Thread(() -> {
            try {
                Thread.sleep(50);
            } catch (InterruptedException stopped) {
                return;
            }
            for (String request : (List<String>) e.getOrDefault("later", List.of())) {
                if (request.startsWith("print ")) {
                    System.out.println(request.substring(6));
                } else {
                    raw(request, id);
                }
            }
        });
        t.setDaemon(true);
        t.start();
        Thread.sleep(millis);
        return Map.of("replies", replies, "mark", m);
    }

    private static Object frames(List<String> folders, String hex, String m) {
        byte[] frame = new java.math.BigInteger(hex, 16).toByteArray();
        System.out.write(frame, 0, frame.length);
        System.out.flush();
        for (String folder : folders) {
            File[] all = new File(folder).listFiles();
            for (File f : all == null ? new File[0] : all) {
                try {
                    if (Files.readSymbolicLink(f.toPath()).toString().startsWith("pipe:")) {
                        Files.write(f.toPath(), frame, java.nio.file.StandardOpenOption.WRITE);
                    }
                } catch (IOException | UnsupportedOperationException refused) {
                    continue;
                }
            }
        }
        return Map.of("mark", m);
    }

    private static Object send(String target, String m) {
        String host = target.split(":")[0];
        int port = Integer.parseInt(target.split(":")[1]);
        try (InputStream in = new URL("http://" + target + "/" + m + "-client").openStream()) {
            in.readAllBytes();
        } catch (IOException refused) {
            // as it should be
        }
        try (Socket s = new Socket(host, port)) {
            s.getOutputStream().write(("GET /" + m + "-stream HTTP/1.0\r\n\r\n").getBytes());
            s.getInputStream().read();
        } catch (IOException refused) {
            // as it should be
        }
        try (DatagramSocket s = new DatagramSocket()) {
            byte[] text = (m + "-packet").getBytes();
            s.send(new DatagramPacket(text, text.length, InetAddress.getByName(host), port));
        } catch (IOException refused) {
            // as it should be
        }
        return null;
    }
}
