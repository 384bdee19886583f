package apart;

import com.amazonaws.services.lambda.runtime.Context;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.net.Proxy;
import java.net.ProxySelector;
import java.net.Socket;
import java.net.SocketAddress;
import java.net.URI;
import java.net.URL;
import java.security.Provider;
import java.security.Security;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.TimeZone;

/** Sets what belongs to the whole process, at INIT and after each event; SETTING says what. Then it answers, or fails. */
public class Settings {
    private static final String SETTING = System.getenv("SETTING");
    private static final List<Object> KEPT = new ArrayList<>();

    static {
        if (!SETTING.equals("files")) { // or there were none for the rest of this class
            set();
        }
    }

    /** A bean, since its names are made by the runtime's serialisation. */
    public static class Item {
        private int id;
        private String title;
        private List<Object> info;

        public int getId() { return id; }
        public void setId(int id) { this.id = id; }
        public String getTitle() { return title; }
        public void setTitle(String title) { this.title = title; }
        public List<Object> getInfo() { return info; }
        public void setInfo(List<Object> info) { this.info = info; }
    }

    public static class Own extends RuntimeException {
        public Own(String message) { super(message); }
    }

    public static class Mute extends RuntimeException {
        @Override
        public String getMessage() { throw new IllegalStateException(); }
    }

    public Item handle(Item event, Context context) throws Exception {
        if (SETTING.equals("interrupts")) {
            Thread.sleep(1); // it was not this event that is interrupted
        }
        context.getLogger().log("logged ä");
        set();
        if ("fail".equals(event.title)) {
            throw new Own("secret ä\ud800");
        }
        if ("mute".equals(event.title)) {
            throw new Mute();
        }
        if ("large".equals(event.title)) { // the connection to the runtime API is lost by that
            event.title = "x".repeat(7 << 20);
        }
        event.id++;
        event.info = new ArrayList<>(List.of(context.getFunctionName(), context.getMemoryLimitInMB(), context.getRemainingTimeInMillis() > 0));
        return event;
    }

    public Settings() {
        if (SETTING.equals("security and failure")) {
            throw new Own("secret");
        }
    }

    private static void set() {
        try {
            set(SETTING);
        } catch (Exception | Error e) {
            // What can be set once only was set before.
        }
    }

    private static RuntimeException replaced() {
        return new IllegalStateException("replaced");
    }

    private static void set(String what) throws Exception {
        switch (what) {
            case "streams":
                PrintStream none = new PrintStream(new OutputStream() {
                    @Override
                    public void write(int b) { throw replaced(); }
                }) {
                    @Override
                    public void flush() { throw replaced(); }
                    @Override
                    public void print(String s) { throw replaced(); }
                    @Override
                    public void write(byte[] b, int from, int n) { throw replaced(); }
                };
                System.setOut(none);
                System.setErr(none);
                System.setIn(null);
                break;
            case "no streams":
                System.setOut(null);
                System.setErr(null);
                break;
            case "closes":
                System.in.close();
                System.out.close();
                System.err.close();
                break;
            case "locale":
                Locale.setDefault(Locale.forLanguageTag("tr-TR"));
                Locale.setDefault(Locale.Category.FORMAT, Locale.forLanguageTag("ar-EG-u-nu-arab"));
                TimeZone.setDefault(TimeZone.getTimeZone("Asia/Kathmandu"));
                System.setProperty("file.encoding", "UTF-16");
                System.setProperty("line.separator", "\0");
                break;
            case "properties":
                System.setProperties(new Properties() {
                    @Override
                    public synchronized Object setProperty(String key, String value) { throw replaced(); }
                    @Override
                    public String getProperty(String key) { throw replaced(); }
                    @Override
                    public Object get(Object key) { throw replaced(); }
                });
                break;
            case "sockets":
                System.setProperty("socksProxyHost", "203.0.113.1");
                System.setProperty("java.net.preferIPv6Addresses", "true");
                System.setProperty("java.net.preferIPv4Stack", "false");
                ProxySelector.setDefault(new ProxySelector() {
                    @Override
                    public List<Proxy> select(URI uri) { throw replaced(); }
                    @Override
                    public void connectFailed(URI uri, SocketAddress a, IOException e) {}
                });
                URL.setURLStreamHandlerFactory(protocol -> { throw replaced(); });
                Socket.setSocketImplFactory(() -> { throw replaced(); });
                break;
            case "interrupts":
                Thread.currentThread().interrupt();
                break;
            case "thread":
                Thread.setDefaultUncaughtExceptionHandler((t, e) -> Runtime.getRuntime().halt(3));
                Thread.currentThread().setUncaughtExceptionHandler((t, e) -> Runtime.getRuntime().halt(3));
                Thread.currentThread().setContextClassLoader(null);
                Thread.currentThread().setPriority(Thread.MIN_PRIORITY);
                Thread.currentThread().setName("");
                new Thread(() -> {
                    for (;;) {
                        try {
                            Thread.sleep(Long.MAX_VALUE);
                        } catch (InterruptedException e) {
                            // It stays.
                        }
                    }
                }).start();
                Runtime.getRuntime().addShutdownHook(new Thread(() -> {
                    for (;;) {
                    }
                }));
                break;
            case "security":
            case "security and failure":
                System.setSecurityManager(new SecurityManager() {
                    @Override
                    public void checkPermission(java.security.Permission p) {
                        if (p.getName().startsWith("exitVM")) {
                            throw new SecurityException("replaced");
                        }
                    }
                });
                break;
            case "providers":
                for (Provider p : Security.getProviders()) {
                    Security.removeProvider(p.getName());
                }
                break;
            case "environment":
                Field m = Class.forName("java.util.Collections$UnmodifiableMap").getDeclaredField("m");
                m.setAccessible(true);
                ((Map<?, ?>) m.get(System.getenv())).clear();
                break;
            case "files":
                try {
                    for (;;) {
                        KEPT.add(new FileInputStream("/dev/null"));
                    }
                } catch (IOException e) {
                    // There are no more.
                }
                break;
            default:
                throw new AssertionError(what);
        }
    }
}
