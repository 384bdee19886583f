package she.runtime;

import java.io.DataInputStream;
import java.io.FileInputStream;
import java.io.IOException;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.security.GeneralSecurityException;
import java.security.SecureRandom;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Seeds again what was seeded before the event: this process may be one of many copies of one that waited, and no two
 * may draw the same numbers.
 *
 * What is reached: the platform's own generators, and those that the handler's class, the classes around and within it
 * and the handler's object hold. A java.util.Random kept elsewhere is out of reach; one made after the event is new.
 */
final class Fresh {
    private Fresh() {}

    static void randomness(Handler handler) throws IOException {
        try (DataInputStream kernel = new DataInputStream(new FileInputStream("/dev/urandom"))) {
            // One generator stands behind all SecureRandoms of such a name, UUID.randomUUID's among them.
            for (String name : new String[] {"NativePRNG", "NativePRNGNonBlocking", "NativePRNGBlocking"}) {
                try {
                    SecureRandom.getInstance(name).setSeed(seed(kernel));
                } catch (GeneralSecurityException e) {
                    // This platform has none.
                }
            }
            // What seeds the SHA1PRNGs and DRBGs that are made from now on.
            for (String name : new String[] {"sun.security.provider.SecureRandom$SeederHolder", "sun.security.provider.AbstractDrbg$SeederHolder"}) {
                quietly(() -> {
                    Object seeder = field(Class.forName(name), "seeder").get(null);
                    seedEngine(seeder, kernel);
                    for (Field f : seeder.getClass().getDeclaredFields()) { // or it is a function around one
                        f.setAccessible(true);
                        seedEngine(f.get(Modifier.isStatic(f.getModifiers()) ? null : seeder), kernel);
                    }
                });
            }
            counter("java.util.Random", "seedUniquifier", kernel);
            counter("java.util.SplittableRandom", "defaultGen", kernel);
            counter("java.util.concurrent.ThreadLocalRandom", "seeder", kernel);
            quietly(() -> {
                Field seed = field(Thread.class, "threadLocalRandomSeed");
                for (Thread t : threads()) {
                    seed.setLong(t, kernel.readLong());
                }
            });
            quietly(() -> reseed(field(Class.forName("java.lang.Math$RandomNumberGeneratorHolder"), "randomNumberGenerator").get(null), kernel));
            quietly(() -> reseed(field(java.util.Collections.class, "r").get(null), kernel));
            Class<?> outermost = handler.type;
            while (outermost.getEnclosingClass() != null) {
                outermost = outermost.getEnclosingClass();
            }
            within(outermost, handler, kernel);
            for (Class<?> c = handler.type.getSuperclass(); c != null; c = c.getSuperclass()) {
                own(c, handler, kernel);
            }
        }
    }

    private interface Step {
        void run() throws Exception;
    }

    /** A field that another Java has not is nothing to seed. */
    private static void quietly(Step s) {
        try {
            s.run();
        } catch (Exception | LinkageError e) {
            // as said
        }
    }

    private static byte[] seed(DataInputStream kernel) throws IOException {
        byte[] b = new byte[32];
        kernel.readFully(b);
        return b;
    }

    private static void seedEngine(Object engine, DataInputStream kernel) throws Exception {
        for (Class<?> c = engine == null ? null : engine.getClass(); c != null; c = c.getSuperclass()) {
            for (Method m : c.getDeclaredMethods()) {
                if (m.getName().equals("engineSetSeed") && m.getParameterCount() == 1 && m.getParameterTypes()[0] == byte[].class && !Modifier.isAbstract(m.getModifiers())) {
                    m.setAccessible(true);
                    m.invoke(engine, (Object) seed(kernel));
                    return;
                }
            }
        }
    }

    private static Field field(Class<?> c, String name) throws NoSuchFieldException {
        Field f = c.getDeclaredField(name);
        f.setAccessible(true);
        return f;
    }

    private static void counter(String c, String name, DataInputStream kernel) {
        quietly(() -> ((AtomicLong) field(Class.forName(c), name).get(null)).set(kernel.readLong()));
    }

    private static void reseed(Object generator, DataInputStream kernel) throws IOException {
        if (generator instanceof SecureRandom) {
            ((SecureRandom) generator).setSeed(seed(kernel));
        } else if (generator instanceof Random) {
            ((Random) generator).setSeed(kernel.readLong());
        }
    }

    private static Thread[] threads() {
        ThreadGroup all = Thread.currentThread().getThreadGroup();
        while (all.getParent() != null) {
            all = all.getParent();
        }
        Thread[] list = new Thread[all.activeCount() + 32];
        int n = all.enumerate(list, true);
        return java.util.Arrays.copyOf(list, n);
    }

    private static void within(Class<?> c, Handler handler, DataInputStream kernel) {
        own(c, handler, kernel);
        quietly(() -> {
            for (Class<?> inner : c.getDeclaredClasses()) {
                within(inner, handler, kernel);
            }
        });
    }

    /** Seeds the generators in c's static fields, and in the handler object's if it is a c. */
    private static void own(Class<?> c, Handler handler, DataInputStream kernel) {
        quietly(() -> {
            for (Field f : c.getDeclaredFields()) {
                boolean isStatic = Modifier.isStatic(f.getModifiers());
                if (Random.class.isAssignableFrom(f.getType()) && (isStatic || c.isInstance(handler.instance))) {
                    f.setAccessible(true);
                    reseed(f.get(isStatic ? null : handler.instance), kernel);
                }
            }
        });
    }
}
