package she.runtime;

import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.FileInputStream;
import java.io.IOException;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.security.GeneralSecurityException;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Seeds random generators again that were seeded before the event. This process may be one of many that were restored
 * from one snapshot, and no two may draw the same numbers. The generators are found in advance, to keep the event short.
 *
 * It finds the platform's own generators, and those in fields of the handler's class, of its outer and inner classes, and
 * of the handler's object. It does not find a java.util.Random kept elsewhere. One created after the event is new anyway.
 */
final class Fresh {
    /** Seeds one generator. */
    private interface Step {
        void run(DataInputStream kernel) throws Exception;
    }

    private interface Search {
        void run() throws Exception;
    }

    /** More than all the seeds take, so that the kernel is asked once. */
    private static final int ENOUGH = 1024;

    private final List<Step> steps = new ArrayList<>();
    private final FileInputStream urandom;

    /** Finds the platform's own, before the function's code is loaded: it may remove the providers. */
    Fresh() throws IOException {
        urandom = new FileInputStream("/dev/urandom"); // kept open, because a function may use up the file descriptors
        // All SecureRandoms of such a name share one generator, UUID.randomUUID's too.
        for (String name : new String[] {"NativePRNG", "NativePRNGNonBlocking", "NativePRNGBlocking"}) {
            try {
                SecureRandom generator = SecureRandom.getInstance(name);
                steps.add(kernel -> generator.setSeed(seed(kernel)));
            } catch (GeneralSecurityException e) {
                // This platform does not have it.
            }
        }
        // The generator that seeds the SHA1PRNGs and DRBGs created from now on.
        for (String name : new String[] {"sun.security.provider.SecureRandom$SeederHolder", "sun.security.provider.AbstractDrbg$SeederHolder"}) {
            quietly(() -> {
                Object seeder = field(Class.forName(name), "seeder").get(null);
                engine(seeder);
                for (Field f : seeder.getClass().getDeclaredFields()) { // or it is a function that wraps one
                    f.setAccessible(true);
                    engine(f.get(Modifier.isStatic(f.getModifiers()) ? null : seeder));
                }
            });
        }
        counter("java.util.Random", "seedUniquifier");
        counter("java.util.SplittableRandom", "defaultGen");
        counter("java.util.concurrent.ThreadLocalRandom", "seeder");
        quietly(() -> {
            Field seed = field(Thread.class, "threadLocalRandomSeed");
            steps.add(kernel -> {
                for (Thread t : threads()) {
                    seed.setLong(t, kernel.readLong());
                }
            });
        });
        quietly(() -> held(field(Class.forName("java.lang.Math$RandomNumberGeneratorHolder"), "randomNumberGenerator"), null));
        quietly(() -> held(field(java.util.Collections.class, "r"), null));
    }

    /** Adds those of the handler. */
    void of(Handler handler) {
        Class<?> outermost = handler.type;
        while (outermost.getEnclosingClass() != null) {
            outermost = outermost.getEnclosingClass();
        }
        within(outermost, handler.instance);
        for (Class<?> c = handler.type.getSuperclass(); c != null; c = c.getSuperclass()) {
            own(c, handler.instance);
        }
    }

    void randomness() throws IOException {
        // The rest of the buffer must not be used next time, because another restored instance may have it too.
        DataInputStream kernel = new DataInputStream(new BufferedInputStream(urandom, ENOUGH));
        for (Step s : steps) {
            try {
                s.run(kernel);
            } catch (IOException e) {
                throw e;
            } catch (Exception | LinkageError e) {
                // This Java does not have the generator, as when it was not found.
            }
        }
    }

    /** A field that another Java has not is nothing to seed. */
    private static void quietly(Search s) {
        try {
            s.run();
        } catch (Exception | LinkageError e) {
            // as above
        }
    }

    private static byte[] seed(DataInputStream kernel) throws IOException {
        byte[] b = new byte[32];
        kernel.readFully(b);
        return b;
    }

    private void engine(Object engine) {
        for (Class<?> c = engine == null ? null : engine.getClass(); c != null; c = c.getSuperclass()) {
            for (Method m : c.getDeclaredMethods()) {
                if (m.getName().equals("engineSetSeed") && m.getParameterCount() == 1 && m.getParameterTypes()[0] == byte[].class && !Modifier.isAbstract(m.getModifiers())) {
                    m.setAccessible(true);
                    steps.add(kernel -> m.invoke(engine, (Object) seed(kernel)));
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

    private void counter(String c, String name) {
        quietly(() -> {
            AtomicLong counter = (AtomicLong) field(Class.forName(c), name).get(null);
            steps.add(kernel -> counter.set(kernel.readLong()));
        });
    }

    /** Seeds what a field holds by then. */
    private void held(Field f, Object in) {
        steps.add(kernel -> {
            Object generator = f.get(in);
            if (generator instanceof SecureRandom) {
                ((SecureRandom) generator).setSeed(seed(kernel));
            } else if (generator instanceof Random) {
                ((Random) generator).setSeed(kernel.readLong());
            }
        });
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

    private void within(Class<?> c, Object instance) {
        own(c, instance);
        quietly(() -> {
            for (Class<?> inner : c.getDeclaredClasses()) {
                within(inner, instance);
            }
        });
    }

    /** The generators in c's static fields, and in the handler object's if it is a c. */
    private void own(Class<?> c, Object instance) {
        quietly(() -> {
            for (Field f : c.getDeclaredFields()) {
                boolean isStatic = Modifier.isStatic(f.getModifiers());
                if (Random.class.isAssignableFrom(f.getType()) && (isStatic || c.isInstance(instance))) {
                    f.setAccessible(true);
                    held(f, isStatic ? null : instance);
                }
            }
        });
    }
}
