package she.runtime;

import com.amazonaws.services.lambda.runtime.CustomPojoSerializer;
import com.amazonaws.services.lambda.runtime.serialization.PojoSerializer;
import com.amazonaws.services.lambda.runtime.serialization.events.LambdaEventSerializers;
import com.amazonaws.services.lambda.runtime.serialization.factories.JacksonFactory;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.ServiceLoader;

/**
 * Converts JSON to and from the types that a handler declares, with AWS's own serialisation library. So a bean, a record
 * or an enum is converted as on Lambda. The serialiser of a type is chosen as in AWS's runtime client: the package's own
 * (CustomPojoSerializer), that of a known event class, else Jackson.
 */
final class Values {
    private final PojoSerializer<Object> serializer;

    private Values(PojoSerializer<Object> serializer) {
        this.serializer = serializer;
    }

    /** The values of a type. What a serialiser needs to know of the type is worked out here, before there is an event. */
    @SuppressWarnings({"unchecked", "rawtypes"})
    static Values of(Type type, ClassLoader loader) throws Bootstrap.Fault {
        CustomPojoSerializer own = own(loader);
        if (own != null) {
            return new Values(new PojoSerializer<Object>() {
                public Object fromJson(InputStream in) { return own.fromJson(in, type); }
                public Object fromJson(String in) { return own.fromJson(in, type); }
                public void toJson(Object value, OutputStream out) { own.toJson(value, out, type); }
            });
        }
        if (type instanceof Class && LambdaEventSerializers.isLambdaSupportedEvent(((Class<?>) type).getName())) {
            return new Values(LambdaEventSerializers.serializerFor((Class) type, loader));
        }
        return new Values(JacksonFactory.getInstance().getSerializer(type));
    }

    private static CustomPojoSerializer own(ClassLoader loader) throws Bootstrap.Fault {
        Iterator<CustomPojoSerializer> found = ServiceLoader.load(CustomPojoSerializer.class, loader).iterator();
        if (!found.hasNext()) {
            return null;
        }
        CustomPojoSerializer first = found.next();
        if (found.hasNext()) {
            throw new Bootstrap.Fault("Runtime.BadSerializer", "The package names more than one CustomPojoSerializer", null);
        }
        return first;
    }

    Object read(byte[] json) throws Exception {
        try {
            return serializer.fromJson(new ByteArrayInputStream(json));
        } catch (UncheckedIOException e) { // wrapped by the library; the cause has the message and the position
            throw e.getCause();
        }
    }

    byte[] write(Object value) throws Exception {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        try {
            serializer.toJson(value, out);
        } catch (UncheckedIOException e) {
            throw e.getCause();
        }
        return out.toByteArray();
    }

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
            Class<?> raw = (Class<?>) (t instanceof ParameterizedType ? ((ParameterizedType) t).getRawType() : t);
            if (t instanceof ParameterizedType) {
                TypeVariable<?>[] names = raw.getTypeParameters();
                for (int i = 0; i < names.length; i++) {
                    given.put(names[i], ((ParameterizedType) t).getActualTypeArguments()[i]);
                }
            }
            collect(raw, given);
        }
    }
}
