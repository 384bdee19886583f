package she.runtime;

import com.amazonaws.services.lambda.runtime.Context;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.LinkedHashSet;
import java.util.Set;

/**
 * The author's method and how it is called. It may be static or not, in these forms:
 *
 * <pre>
 *   ([InputStream][, OutputStream][, Context])   bytes in, bytes out; at least one of the streams
 *   ([value][, Context]) → value                 by JSON: see Values
 * </pre>
 *
 * "package.Class::method" names it. "package.Class" stands for its handleRequest, also that of Lambda's two interfaces.
 */
final class Handler {
    final Class<?> type;
    final Object instance; // null for a static method
    private final Method method;
    private final Values event; // null: the method takes no event, or bytes
    private final Values answer; // null: the method returns nothing, or bytes

    private Handler(Class<?> type, Object instance, Method method) throws Bootstrap.Fault {
        this.type = type;
        this.instance = instance;
        this.method = method;
        Class<?>[] p = method.getParameterTypes();
        boolean streams = streams(p);
        boolean takes = !streams && p.length > 0 && p[0] != Context.class;
        boolean gives = !streams && method.getReturnType() != void.class && method.getReturnType() != Void.class;
        ClassLoader loader = type.getClassLoader();
        this.event = takes ? Values.of(Values.resolve(method.getGenericParameterTypes()[0], type), loader) : null;
        this.answer = gives ? Values.of(Values.resolve(method.getGenericReturnType(), type), loader) : null;
    }

    static Handler find(String name) throws Throwable {
        String[] parts = name.split("::", -1);
        String methodName = parts.length == 1 ? "handleRequest" : parts[1];
        if (parts.length > 2 || parts[0].isEmpty() || methodName.isEmpty()) {
            throw new Bootstrap.Fault("Runtime.MalformedHandlerName", "Bad handler '" + name + "': want package.Class::method", null);
        }
        Class<?> type = load(parts[0]);
        Method method = choose(type, methodName);
        method.setAccessible(true);
        return new Handler(type, Modifier.isStatic(method.getModifiers()) ? null : make(type), method);
    }

    private static Class<?> load(String name) throws Throwable {
        try {
            return Class.forName(name);
        } catch (ClassNotFoundException e) {
            throw new Bootstrap.Fault("Runtime.ImportModuleError", "Class not found: " + name, e);
        } catch (ExceptionInInitializerError e) {
            throw e.getCause() == null ? e : e.getCause();
        } catch (LinkageError e) { // a class that it needs is missing in the package, or was built for a newer Java
            throw new Bootstrap.Fault("Runtime.ImportModuleError", "Unable to load class " + name + ": " + e, e);
        }
    }

    private static Object make(Class<?> type) throws Throwable {
        try {
            Constructor<?> c = type.getDeclaredConstructor();
            c.setAccessible(true);
            return c.newInstance();
        } catch (InvocationTargetException e) {
            throw e.getCause();
        } catch (NoSuchMethodException | InstantiationException e) {
            throw new Bootstrap.Fault("Runtime.HandlerNotFound", "Class " + type.getName() + " can't be made: it needs a constructor without arguments", null);
        }
    }

    /** Of several methods of a name the one that takes most wins, with a Context before without; then the subclass's. */
    private static Method choose(Class<?> type, String name) throws Bootstrap.Fault {
        Set<Method> all = new LinkedHashSet<>();
        try {
            for (Class<?> c = type; c != null; c = c.getSuperclass()) {
                for (Method m : c.getDeclaredMethods()) {
                    if (c == type || !Modifier.isPrivate(m.getModifiers())) {
                        all.add(m);
                    }
                }
            }
            for (Method m : type.getMethods()) { // defaults of interfaces
                all.add(m);
            }
        } catch (LinkageError e) {
            throw new Bootstrap.Fault("Runtime.ImportModuleError", "Unable to load class " + type.getName() + ": " + e, e);
        }
        Method best = null;
        boolean named = false;
        for (Method m : all) {
            if (!m.getName().equals(name) || m.isBridge() || Modifier.isAbstract(m.getModifiers())) {
                continue;
            }
            named = true;
            if (rank(m) > (best == null ? 0 : rank(best))) {
                best = m;
            }
        }
        if (best == null) {
            throw new Bootstrap.Fault("Runtime.HandlerNotFound", named
                ? "Method " + name + " of class " + type.getName() + " takes something else than ([value][, Context]) or (InputStream, OutputStream[, Context])"
                : "No method " + name + " in class " + type.getName(), null);
        }
        return best;
    }

    private static int rank(Method m) {
        Class<?>[] p = m.getParameterTypes();
        boolean context = p.length > 0 && p[p.length - 1] == Context.class;
        int plain = context ? p.length - 1 : p.length;
        return plain <= 1 || plain == 2 && p[0] == InputStream.class && p[1] == OutputStream.class ? 1 + 2 * p.length + (context ? 1 : 0) : 0;
    }

    private static boolean streams(Class<?>[] p) {
        return p.length > 0 && (p[0] == InputStream.class || p[0] == OutputStream.class);
    }

    /** The answer to one event, as it goes out. */
    byte[] call(byte[] json, Context context) throws Throwable {
        Class<?>[] p = method.getParameterTypes();
        Object[] args = new Object[p.length];
        ByteArrayOutputStream out = null;
        for (int i = 0; i < p.length; i++) {
            if (i == p.length - 1 && p[i] == Context.class) {
                args[i] = context;
            } else if (p[i] == OutputStream.class) {
                args[i] = out = new ByteArrayOutputStream();
            } else if (p[i] == InputStream.class) {
                args[i] = new ByteArrayInputStream(json);
            } else {
                args[i] = read(json);
            }
        }
        Object given;
        try {
            given = method.invoke(instance, args);
        } catch (InvocationTargetException e) {
            throw e.getCause();
        }
        if (out != null) {
            return out.toByteArray();
        }
        if (answer == null) {
            return new byte[] {'n', 'u', 'l', 'l'};
        }
        try {
            return answer.write(given);
        } catch (Exception | StackOverflowError | LinkageError e) {
            throw new Bootstrap.Fault("Runtime.MarshalError", "The answer has no JSON form: " + e.getMessage(), e);
        }
    }

    private Object read(byte[] json) throws Bootstrap.Fault {
        try {
            return event.read(json);
        } catch (Exception | StackOverflowError | LinkageError e) {
            throw new Bootstrap.Fault("Runtime.UnmarshalError", "The event is no " + method.getGenericParameterTypes()[0].getTypeName() + ": " + e.getMessage(), e);
        }
    }
}
