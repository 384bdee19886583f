package fails;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Every way to end without an answer. */
public class Fails {
    static class Sad extends RuntimeException {
        Sad(String message, Throwable cause) {
            super(message, cause);
        }
    }

    public Object raises(Map<String, String> event) {
        return deeper(event.get("n"));
    }

    private Object deeper(String n) {
        throw new Sad("secret " + n, new IllegalStateException("inner"));
    }

    public Object exits(Object event) {
        System.exit(4);
        return null;
    }

    public Object halts(Object event) {
        Runtime.getRuntime().halt(9);
        return null;
    }

    public Object fillsHeap(Object event) {
        List<byte[]> all = new ArrayList<>();
        for (;;) {
            all.add(new byte[1 << 20]);
        }
    }

    private static final List<Object> KEPT = new ArrayList<>();

    public Object fillsHeapForGood(Object event) {
        for (;;) {
            KEPT.add(new long[100]);
        }
    }

    /** Memory that is no heap: the limit of the whole sandbox holds. */
    public Object fillsBeside(Object event) throws Exception {
        sun.misc.Unsafe unsafe;
        java.lang.reflect.Field f = sun.misc.Unsafe.class.getDeclaredField("theUnsafe");
        f.setAccessible(true);
        unsafe = (sun.misc.Unsafe) f.get(null);
        for (;;) {
            unsafe.setMemory(unsafe.allocateMemory(1 << 20), 1 << 20, (byte) 1);
        }
    }

    public Object sleeps(Object event) throws Exception {
        Thread.sleep(60_000);
        return null;
    }

    public Object spins(Object event) {
        for (long i = 0; ; i++) {
            if (i < 0) {
                return i;
            }
        }
    }

    public Object recurses(Object event) {
        return List.of(recurses(event));
    }

    public double nan(Object event) {
        return Double.NaN;
    }

    public Object cycle(Object event) {
        List<Object> l = new ArrayList<>();
        l.add(l);
        return l;
    }

    public static class Broken {
        public String getValue() {
            throw new IllegalStateException("no value");
        }
    }

    public Object getter(Object event) {
        return new Broken();
    }

    public Object any(Object event) {
        return event;
    }

    public int whole(int n) {
        return n;
    }

    public String large(Object event) {
        return "x".repeat(7 << 20);
    }

    public String lingers(Object event) {
        new Thread(() -> {
            for (;;) {
                Thread.yield();
            }
        }).start();
        return "answered";
    }

    public void odd(String a, String b) {}
}
