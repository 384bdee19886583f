package she.runtime;

import java.lang.reflect.Array;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.GenericArrayType;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Member;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.lang.reflect.WildcardType;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.time.temporal.TemporalAccessor;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.Date;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.UUID;

/**
 * Between what Json knows and what handlers are declared with: beans (getters and setters, public fields), records,
 * enums, collections of such. Names are as Jackson has them, which Lambda uses.
 */
final class Types {
    private static final Map<Class<?>, Map<String, Member>> readable = new HashMap<>();
    private static final Map<Class<?>, Map<String, Member>> writable = new HashMap<>();

    private Types() {}

    /** What a type declared in a superclass or interface of c means in c: RequestHandler's I is what c gave for it. */
    static Type resolve(Type t, Class<?> c) {
        if (!(t instanceof TypeVariable) || !(((TypeVariable<?>) t).getGenericDeclaration() instanceof Class)) {
            return t;
        }
        Map<Type, Type> given = new HashMap<>();
        collect(c, given);
        for (int i = 0; given.containsKey(t) && i < 100; i++) {
            t = given.get(t);
        }
        return t;
    }

    private static void collect(Class<?> c, Map<Type, Type> given) {
        List<Type> above = new ArrayList<>(List.of(c.getGenericInterfaces()));
        if (c.getGenericSuperclass() != null) {
            above.add(c.getGenericSuperclass());
        }
        for (Type t : above) {
            Class<?> raw = raw(t);
            if (t instanceof ParameterizedType) {
                TypeVariable<?>[] names = raw.getTypeParameters();
                for (int i = 0; i < names.length; i++) {
                    given.put(names[i], ((ParameterizedType) t).getActualTypeArguments()[i]);
                }
            }
            collect(raw, given);
        }
    }

    private static Class<?> raw(Type t) {
        if (t instanceof Class) {
            return (Class<?>) t;
        }
        if (t instanceof ParameterizedType) {
            return raw(((ParameterizedType) t).getRawType());
        }
        if (t instanceof GenericArrayType) {
            return Array.newInstance(raw(((GenericArrayType) t).getGenericComponentType()), 0).getClass();
        }
        if (t instanceof WildcardType) {
            return raw(((WildcardType) t).getUpperBounds()[0]);
        }
        return raw(((TypeVariable<?>) t).getBounds()[0]);
    }

    private static Type argument(Type t, int i) {
        return t instanceof ParameterizedType ? ((ParameterizedType) t).getActualTypeArguments()[i] : Object.class;
    }

    /** Turns a JSON value into a t. Errors name types, never values. */
    static Object to(Object v, Type t) throws ReflectiveOperationException {
        Class<?> c = raw(t);
        if (c == Optional.class) {
            return Optional.ofNullable(to(v, argument(t, 0)));
        }
        if (v == null) {
            if (c.isPrimitive()) {
                throw cannot("null", c);
            }
            return null;
        }
        if (c == byte[].class && v instanceof String) {
            return Base64.getDecoder().decode((String) v);
        }
        if (c.isArray() && v instanceof List) {
            List<?> from = (List<?>) v;
            Type element = t instanceof GenericArrayType ? ((GenericArrayType) t).getGenericComponentType() : c.getComponentType();
            Object array = Array.newInstance(c.getComponentType(), from.size());
            for (int i = 0; i < from.size(); i++) {
                Array.set(array, i, to(from.get(i), element));
            }
            return array;
        }
        if (v instanceof List && Iterable.class.isAssignableFrom(c)) {
            Collection<Object> into = collection(c);
            for (Object e : (List<?>) v) {
                into.add(to(e, argument(t, 0)));
            }
            return into;
        }
        if (v instanceof Map && Map.class.isAssignableFrom(c)) {
            Map<Object, Object> into = map(c);
            for (Map.Entry<?, ?> e : ((Map<?, ?>) v).entrySet()) {
                into.put(to(e.getKey(), argument(t, 0)), to(e.getValue(), argument(t, 1)));
            }
            return into;
        }
        if (v instanceof Map && !c.isInstance(v)) {
            return bean((Map<?, ?>) v, c);
        }
        return scalar(v, c);
    }

    private static Object scalar(Object v, Class<?> c) throws ReflectiveOperationException {
        if (v instanceof Number && (c.isPrimitive() && c != boolean.class && c != char.class || Number.class.isAssignableFrom(c))) {
            return number((Number) v, c);
        }
        if (c.isInstance(v) || v instanceof Boolean && c == boolean.class) {
            return v;
        }
        if (c.isAssignableFrom(String.class) && !(v instanceof List) && !(v instanceof Map)) {
            return v.toString();
        }
        if (Date.class == c && v instanceof Number) {
            return new Date(((Number) v).longValue());
        }
        if (v instanceof String) {
            String s = (String) v;
            if (s.length() == 1 && (c == char.class || c == Character.class)) {
                return s.charAt(0);
            }
            if (c.isEnum()) {
                for (Object e : c.getEnumConstants()) {
                    if (((Enum<?>) e).name().equals(s)) {
                        return e;
                    }
                }
            } else if (c == UUID.class) {
                return UUID.fromString(s);
            } else if (c == Date.class) {
                return Date.from(java.time.OffsetDateTime.parse(s).toInstant());
            } else if (TemporalAccessor.class.isAssignableFrom(c)) {
                return c.getMethod("parse", CharSequence.class).invoke(null, s);
            }
        }
        throw cannot(v instanceof Map ? "an object" : v instanceof List ? "an array" : "a " + v.getClass().getSimpleName().toLowerCase(Locale.ROOT), c);
    }

    private static IllegalArgumentException cannot(String what, Class<?> c) {
        return new IllegalArgumentException("can't make " + c.getTypeName() + " of " + what);
    }

    private static Object number(Number n, Class<?> c) {
        if (c == double.class || c == Double.class) {
            return n.doubleValue();
        } else if (c == float.class || c == Float.class) {
            return n.floatValue();
        } else if (c.isInstance(n)) {
            return n;
        }
        BigDecimal exact = n instanceof BigDecimal ? (BigDecimal) n : new BigDecimal(n.toString());
        if (c == BigDecimal.class) {
            return exact;
        }
        if (Math.abs((long) exact.scale()) > 1000) {
            throw cannot("a number that large or small", c);
        }
        if (c == int.class || c == Integer.class) {
            return exact.intValueExact();
        } else if (c == long.class || c == Long.class) {
            return exact.longValueExact();
        } else if (c == BigInteger.class) {
            return exact.toBigIntegerExact();
        } else if (c == short.class || c == Short.class) {
            return exact.shortValueExact();
        } else if (c == byte.class || c == Byte.class) {
            return exact.byteValueExact();
        }
        throw cannot("a number", c);
    }

    @SuppressWarnings("unchecked")
    private static Collection<Object> collection(Class<?> c) throws ReflectiveOperationException {
        if (!c.isInterface() && !Modifier.isAbstract(c.getModifiers())) {
            return (Collection<Object>) made(c);
        }
        return SortedSet.class.isAssignableFrom(c) ? new TreeSet<>()
            : Set.class.isAssignableFrom(c) ? new LinkedHashSet<>()
            : new ArrayList<>();
    }

    @SuppressWarnings("unchecked")
    private static Map<Object, Object> map(Class<?> c) throws ReflectiveOperationException {
        if (!c.isInterface() && !Modifier.isAbstract(c.getModifiers())) {
            return (Map<Object, Object>) made(c);
        }
        return SortedMap.class.isAssignableFrom(c) ? new TreeMap<>() : new LinkedHashMap<>();
    }

    private static Object made(Class<?> c) throws ReflectiveOperationException {
        try {
            Constructor<?> empty = c.getDeclaredConstructor();
            empty.setAccessible(true);
            return empty.newInstance();
        } catch (NoSuchMethodException | InstantiationException e) {
            throw cannot("an object: it has no constructor without arguments", c);
        }
    }

    private static boolean isRecord(Class<?> c) {
        return c.getSuperclass() != null && c.getSuperclass().getName().equals("java.lang.Record");
    }

    private static Object bean(Map<?, ?> v, Class<?> c) throws ReflectiveOperationException {
        if (c.isPrimitive() || c.isArray() || c.isEnum() || c.getName().startsWith("java.")) {
            throw cannot("an object", c);
        }
        if (isRecord(c)) {
            List<Class<?>> types = new ArrayList<>();
            List<Object> values = new ArrayList<>();
            for (Field f : c.getDeclaredFields()) {
                if (!Modifier.isStatic(f.getModifiers())) {
                    Object given = v.get(f.getName());
                    types.add(f.getType());
                    // What is left out of a record is null, or the zero of a primitive.
                    values.add(given == null && f.getType().isPrimitive() ? Array.get(Array.newInstance(f.getType(), 1), 0) : to(given, f.getGenericType()));
                }
            }
            Constructor<?> canonical = c.getDeclaredConstructor(types.toArray(new Class<?>[0]));
            canonical.setAccessible(true);
            return canonical.newInstance(values.toArray());
        }
        Object made = made(c);
        Map<String, Member> members = writable.computeIfAbsent(c, Types::setters);
        for (Map.Entry<?, ?> e : v.entrySet()) {
            Member m = members.get(e.getKey());
            if (m instanceof Method) {
                ((Method) m).invoke(made, to(e.getValue(), resolve(((Method) m).getGenericParameterTypes()[0], c)));
            } else if (m != null) {
                ((Field) m).set(made, to(e.getValue(), resolve(((Field) m).getGenericType(), c)));
            }
        }
        return made;
    }

    private static Map<String, Member> setters(Class<?> c) {
        Map<String, Member> found = new TreeMap<>(String.CASE_INSENSITIVE_ORDER);
        for (Field f : c.getFields()) {
            if (!Modifier.isStatic(f.getModifiers()) && !Modifier.isFinal(f.getModifiers())) {
                f.setAccessible(true);
                found.put(f.getName(), f);
            }
        }
        for (Method m : c.getMethods()) {
            if (m.getName().matches("set.+") && m.getParameterCount() == 1 && !Modifier.isStatic(m.getModifiers()) && !m.isBridge()) {
                m.setAccessible(true);
                found.put(m.getName().substring(3), m);
            }
        }
        return found;
    }

    private static Map<String, Member> getters(Class<?> c) {
        Map<String, Member> found = new TreeMap<>();
        if (isRecord(c)) {
            found = new LinkedHashMap<>();
            for (Field f : c.getDeclaredFields()) {
                if (!Modifier.isStatic(f.getModifiers())) {
                    f.setAccessible(true);
                    found.put(f.getName(), f);
                }
            }
            return found;
        }
        for (Field f : c.getFields()) {
            if (!Modifier.isStatic(f.getModifiers()) && !Modifier.isTransient(f.getModifiers())) {
                f.setAccessible(true);
                found.put(f.getName(), f);
            }
        }
        for (Method m : c.getMethods()) {
            int prefix = m.getName().matches("get.+") ? 3 : m.getName().matches("is.+") && m.getReturnType() == boolean.class ? 2 : 0;
            if (prefix > 0 && m.getParameterCount() == 0 && !Modifier.isStatic(m.getModifiers()) && !m.isBridge()
                && m.getReturnType() != void.class && m.getDeclaringClass() != Object.class) {
                m.setAccessible(true);
                found.put(property(m.getName().substring(prefix)), m);
            }
        }
        return found;
    }

    /** FirstName is firstName; URL is url, as Jackson has it. */
    private static String property(String name) {
        int n = 0;
        while (n < name.length() && Character.isUpperCase(name.charAt(n))) {
            n++;
        }
        return name.substring(0, n).toLowerCase(Locale.ROOT) + name.substring(n);
    }

    /** Turns an answer into something Json writes: one level, its content follows when it is written. */
    static Object plain(Object v) throws ReflectiveOperationException {
        if (v == null || v instanceof Boolean || v instanceof Map || v instanceof Iterable || v instanceof CharSequence
            || v instanceof Character || v instanceof TemporalAccessor || v instanceof UUID) {
            return v;
        }
        Class<?> c = v.getClass();
        boolean platform = c.getName().startsWith("java.");
        if (v instanceof Number) {
            return platform ? v : (Object) ((Number) v).doubleValue();
        } else if (v instanceof byte[]) {
            return Base64.getEncoder().encodeToString((byte[]) v);
        } else if (c.isArray()) {
            return v;
        } else if (v instanceof Enum) {
            return ((Enum<?>) v).name();
        } else if (v instanceof Date) {
            return ((Date) v).getTime();
        } else if (v instanceof Optional) {
            return plain(((Optional<?>) v).orElse(null));
        } else if (platform) {
            throw new IllegalArgumentException("a " + c.getName() + " is no data");
        }
        Map<String, Object> properties = new LinkedHashMap<>();
        for (Map.Entry<String, Member> e : readable.computeIfAbsent(c, Types::getters).entrySet()) {
            try {
                properties.put(e.getKey(), e.getValue() instanceof Method ? ((Method) e.getValue()).invoke(v) : ((Field) e.getValue()).get(v));
            } catch (InvocationTargetException thrown) {
                throw new IllegalArgumentException("a getter of " + c.getName() + " threw " + thrown.getCause().getClass().getName(), thrown.getCause());
            }
        }
        return properties;
    }
}
