package she.runtime;

import java.io.IOException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Runs an AWS Lambda handler written for the JVM: asks the Runtime API for the event, calls the handler, reports.
 * Format: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
 *
 * It shares a process with the function's code, which may change anything there: streams, locale, properties, a
 * security manager, socket factories. So it opens and reads what it needs before that code is loaded (Api, Log, ENV),
 * and relies on no such setting later.
 */
public final class Bootstrap {
    /** The environment as it was: a function may reach into the map that System.getenv gives. */
    static final Map<String, String> ENV = new HashMap<>(System.getenv());

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

    public static void main(String[] args) throws Exception {
        Api.open();
        Fresh fresh = new Fresh();
        warm(fresh);
        Handler handler = null;
        Handler first = null; // may get an event before the function's own handler does
        try {
            handler = Handler.find(ENV.get("_HANDLER"));
            fresh.of(handler);
            if (ENV.containsKey("SHE_FIRST_HANDLER")) {
                first = Handler.find(ENV.get("SHE_FIRST_HANDLER"));
                fresh.of(first);
            }
            fresh.randomness();
        } catch (Throwable e) {
            report("init/error", e);
            halt();
        }
        for (;;) {
            Api.Reply next = Api.request("GET", "invocation/next", null, null);
            fresh.randomness();
            Thread.interrupted(); // an interrupt between two events belongs to neither of them
            answerOne("first".equals(next.headers.get("she-entry")) ? first : handler, next);
        }
    }

    private static void answerOne(Handler handler, Api.Reply next) throws IOException {
        String path = "invocation/" + next.headers.get("lambda-runtime-aws-request-id") + "/";
        try {
            System.setProperty("com.amazonaws.xray.traceHeader", next.headers.getOrDefault("lambda-runtime-trace-id", ""));
        } catch (RuntimeException e) {
            // The function has replaced the properties, or forbids setting them.
        }
        byte[] answer;
        try {
            answer = handler.call(next.body, new Invocation(next.headers));
        } catch (Throwable e) {
            report(path + "error", e);
            return;
        }
        Log.flush();
        Api.request("POST", path + "response", answer, null);
    }

    /**
     * Loads the classes that will be needed later. That is before the event, so a snapshot contains them, and before the
     * function's code, which may use up the file descriptors. It runs no code of the author.
     */
    private static void warm(Fresh fresh) throws Exception {
        fresh.randomness();
        Values any = Values.of(Map.class, Bootstrap.class.getClassLoader());
        any.write(any.read("{\"a\":[1,-2.5e3,true,null,\"\\u00e9\"],\"b\":{\"c\":12345678901234567890}}".getBytes(StandardCharsets.UTF_8)));
        Map<String, Object> d = document(new Fault("", "", new IOException(new IOException())));
        text(d);
        Json.write(d);
        Api.warm();
        new Invocation(new HashMap<>()).getRemainingTimeInMillis();
        Log.flush();
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
        d.put("errorMessage", message(error));
        d.put("errorType", type);
        d.put("stackTrace", trace(shown));
        Throwable cause = shown.getCause();
        Map<String, Object> at = d;
        for (int i = 0; cause != null && i < 10; i++, cause = cause.getCause()) {
            Map<String, Object> inner = new LinkedHashMap<>();
            inner.put("errorMessage", message(cause));
            inner.put("errorType", cause.getClass().getName());
            inner.put("stackTrace", trace(cause));
            at.put("cause", inner);
            at = inner;
        }
        return d;
    }

    /** An exception of the function's may fail where it is asked for its own words. */
    private static String message(Throwable error) {
        try {
            return error.getMessage();
        } catch (RuntimeException e) {
            return "(its text can't be had: getMessage throws)";
        }
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
            Log.complain(text(d));
            Api.request("POST", path, Json.write(d), type);
        } catch (Throwable again) {
            halt(); // no memory, or the API can't be reached: the exit reports it
        }
    }

    /** What halt comes to, below the question whether it is allowed. */
    private static final Method HALT = halt0();

    private static Method halt0() {
        try {
            Method m = Class.forName("java.lang.Shutdown").getDeclaredMethod("halt0", int.class);
            m.setAccessible(true);
            return m;
        } catch (ReflectiveOperationException | RuntimeException e) {
            return null; // this Java has another name for it
        }
    }

    /** Ends this process, also where a security manager of the function's forbids it. */
    private static void halt() {
        try {
            Runtime.getRuntime().halt(1);
        } catch (SecurityException e) {
            try {
                HALT.invoke(null, 1);
            } catch (ReflectiveOperationException | RuntimeException none) {
                throw e;
            }
        }
    }
}
