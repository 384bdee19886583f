package peers;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.TreeMap;

/** What is answered is made from a seed, and what is read is told back, so that two runtimes can be compared. */
public class Generated {
    public enum Kind {
        WALK,
        RUN {
            @Override
            public String toString() { return "running"; }
        }
    }

    public static class Bean {
        public int count;
        private String text;
        private Bean inner;
        private List<Kind> kinds;
        private Date when;
        private byte[] octets;
        private Boolean isDone;
        private boolean open;
        private Map<String, BigDecimal> sums;
        private Long longURL;

        public String getText() { return text; }
        public void setText(String text) { this.text = text; }
        public Bean getInner() { return inner; }
        public void setInner(Bean inner) { this.inner = inner; }
        public List<Kind> getKinds() { return kinds; }
        public void setKinds(List<Kind> kinds) { this.kinds = kinds; }
        public Date getWhen() { return when; }
        public void setWhen(Date when) { this.when = when; }
        public byte[] getOctets() { return octets; }
        public void setOctets(byte[] octets) { this.octets = octets; }
        public Boolean getIsDone() { return isDone; }
        public void setIsDone(Boolean isDone) { this.isDone = isDone; }
        public boolean isOpen() { return open; }
        public void setOpen(boolean open) { this.open = open; }
        public Map<String, BigDecimal> getSums() { return sums; }
        public void setSums(Map<String, BigDecimal> sums) { this.sums = sums; }
        public Long getLongURL() { return longURL; }
        public void setLongURL(Long longURL) { this.longURL = longURL; }
    }

    private static final String[] PIECES = {"", "a", "Grüße", "\ud83d\ude00", "\"", "\\", "/", "\n", "\0", "\u001f", "\u007f", "\u2028", "<b>", "\ud83d", "\ude00"};
    private static final Object[] NUMBERS = {
        0, -1, Long.MIN_VALUE, 0.1, -0.0, 1.0, 1e21, 1e-7, Double.MAX_VALUE, Double.MIN_VALUE, 0.1f, Float.MAX_VALUE, (byte) 7, (short) -7,
        new BigInteger("12345678901234567890"), new BigDecimal("0.10"), new BigDecimal("1E+400"), new BigDecimal("-0.00"), Double.NaN, Double.POSITIVE_INFINITY, Float.NaN
    };

    private static String text(Random r) {
        StringBuilder s = new StringBuilder();
        for (int n = r.nextInt(4); n > 0; n--) {
            s.append(PIECES[r.nextInt(PIECES.length)]);
        }
        return s.toString();
    }

    private static Object broken(Random r) {
        switch (r.nextInt(5)) {
            case 0: return new Object() { public int getA() { throw new IllegalStateException("of a getter"); } };
            case 1: {
                Bean b = new Bean();
                b.setInner(b);
                return b;
            }
            case 2: return new Object();
            case 3: {
                List<Object> l = new ArrayList<>();
                l.add(l);
                return l;
            }
            default: {
                Map<Object, Object> m = new LinkedHashMap<>();
                m.put(null, 1);
                return m;
            }
        }
    }

    private static Object value(Random r, int depth) {
        switch (r.nextInt(depth > 0 ? 16 : 9)) {
            case 0: return null;
            case 1: return r.nextBoolean();
            case 2: case 3: return NUMBERS[r.nextInt(NUMBERS.length)];
            case 4: return text(r);
            case 5: return Kind.values()[r.nextInt(2)];
            case 6: return new Date(r.nextInt() * 1000L + 7);
            case 7: return r.nextBoolean() ? new byte[] {1, 2, -1} : (Object) new int[] {1, 2};
            case 8: return r.nextBoolean() ? 'c' : (Object) Optional.of("o");
            case 9: {
                Bean b = new Bean();
                b.count = r.nextInt(3);
                b.setText(r.nextBoolean() ? text(r) : null);
                b.setKinds(Arrays.asList(Kind.values()));
                b.setWhen(r.nextBoolean() ? new Date(0) : null);
                b.setIsDone(r.nextBoolean() ? true : null);
                b.setOctets(r.nextBoolean() ? new byte[] {0} : null);
                b.setInner(r.nextBoolean() ? new Bean() : null);
                b.setLongURL(r.nextLong());
                return b;
            }
            case 10: case 11: {
                Map<String, Object> m = r.nextBoolean() ? new TreeMap<>() : new LinkedHashMap<>();
                for (int n = r.nextInt(4); n > 0; n--) {
                    m.put(text(r), value(r, depth - 1));
                }
                return m;
            }
            case 12: return new LinkedHashSet<>(Arrays.asList(value(r, depth - 1), 1));
            case 13: return new Object[] {value(r, depth - 1)};
            default: {
                List<Object> l = new ArrayList<>();
                for (int n = r.nextInt(4); n > 0; n--) {
                    l.add(value(r, depth - 1));
                }
                return l;
            }
        }
    }

    private static Object made(int seed) {
        Random r = new Random(seed);
        Object v = value(r, 4);
        return seed % 8 == 0 ? Arrays.asList(v, broken(r)) : v;
    }

    public Object writes(Integer seed) { return made(seed); }

    public Map<String, Object> writesMap(Integer seed) {
        Map<String, Object> m = new LinkedHashMap<>();
        m.put("v", made(seed));
        return m;
    }

    public Bean writesBean(Integer seed) {
        Object v = null;
        for (int i = 0; !(v instanceof Bean); i++) {
            v = value(new Random(seed * 1000L + i), 1);
        }
        return (Bean) v;
    }

    public String reads(Object event) { return told(event); }

    public String readsMap(Map<String, Object> event) { return told(event); }

    public String readsBean(Bean b) {
        return b == null ? "null" : b.count + told(b.text) + told(b.kinds) + (b.when == null ? "-" : b.when.getTime()) + Arrays.toString(b.octets) + b.isDone + b.open + told(b.sums)
            + b.longURL + "{" + (b.inner == null ? "" : readsBean(b.inner)) + "}";
    }

    private static String told(Object v) {
        if (v instanceof Map) {
            StringBuilder s = new StringBuilder("{");
            for (Map.Entry<?, ?> e : ((Map<?, ?>) v).entrySet()) {
                s.append(told(e.getKey())).append(':').append(told(e.getValue())).append(',');
            }
            return s.append('}').toString();
        }
        if (v instanceof List) {
            StringBuilder s = new StringBuilder("[");
            for (Object x : (List<?>) v) {
                s.append(told(x)).append(',');
            }
            return s.append(']').toString();
        }
        StringBuilder s = new StringBuilder(v == null ? "" : v.getClass().getSimpleName() + " ");
        for (char c : String.valueOf(v).toCharArray()) {
            s.append(c < ' ' || c > '~' ? "<" + (int) c + ">" : "" + c);
        }
        return s.toString();
    }
}
