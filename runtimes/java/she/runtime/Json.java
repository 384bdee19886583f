package she.runtime;

import java.lang.reflect.Array;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * JSON as Maps, Lists, Strings, Numbers, Booleans and null. No digit of a number is lost on the way: a whole number is
 * an Integer, Long or BigInteger, another one a Double where that is exact, else a BigDecimal.
 */
final class Json {
    /** Deeper than any data, and far from the end of the stack. */
    private static final int DEEPEST = 500;

    private final String text;
    private int at;
    private int depth;

    private Json(String text) {
        this.text = text;
    }

    static Object parse(byte[] utf8) {
        Json j = new Json(new String(utf8, StandardCharsets.UTF_8));
        Object v = j.value();
        if (j.peek() != 0 || j.at < j.text.length()) {
            throw j.bad("nothing more");
        }
        return v;
    }

    private IllegalArgumentException bad(String wanted) {
        return new IllegalArgumentException("not JSON: " + wanted + " expected at character " + at);
    }

    /** The next character that is no white space, or 0 at the end. */
    private char peek() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
        return at < text.length() ? text.charAt(at) : 0;
    }

    private boolean take(char c) {
        boolean there = peek() == c;
        if (there) {
            at++;
        }
        return there;
    }

    private Object value() {
        if (++depth > DEEPEST) {
            throw new IllegalArgumentException("JSON nested deeper than " + DEEPEST);
        }
        Object v;
        switch (peek()) {
            case '{': v = object(); break;
            case '[': v = list(); break;
            case '"': v = string(); break;
            case 't': v = word("true", true); break;
            case 'f': v = word("false", false); break;
            case 'n': v = word("null", null); break;
            default: v = number();
        }
        depth--;
        return v;
    }

    private Object word(String w, Object v) {
        if (!text.startsWith(w, at)) {
            throw bad("a value");
        }
        at += w.length();
        return v;
    }

    private Map<String, Object> object() {
        Map<String, Object> m = new LinkedHashMap<>();
        at++;
        if (take('}')) {
            return m;
        }
        do {
            if (peek() != '"') {
                throw bad("a name");
            }
            String name = string();
            if (!take(':')) {
                throw bad("':'");
            }
            m.put(name, value());
        } while (take(','));
        if (!take('}')) {
            throw bad("'}'");
        }
        return m;
    }

    private List<Object> list() {
        List<Object> l = new ArrayList<>();
        at++;
        if (take(']')) {
            return l;
        }
        do {
            l.add(value());
        } while (take(','));
        if (!take(']')) {
            throw bad("']'");
        }
        return l;
    }

    private String string() {
        int from = ++at;
        StringBuilder s = null; // most strings have nothing to undo
        for (; at < text.length(); at++) {
            char c = text.charAt(at);
            if (c == '"') {
                String rest = text.substring(from, at++);
                return s == null ? rest : s.append(rest).toString();
            }
            if (c < ' ') {
                throw bad("no control character");
            }
            if (c == '\\') {
                s = s == null ? new StringBuilder() : s;
                s.append(text, from, at++).append(escaped());
                from = at + 1;
            }
        }
        throw bad("'\"'");
    }

    private char escaped() {
        char c = at < text.length() ? text.charAt(at) : 0;
        int known = "\"\\/bfnrt".indexOf(c);
        if (known >= 0) {
            return "\"\\/\b\f\n\r\t".charAt(known);
        }
        if (c != 'u' || at + 4 >= text.length()) {
            throw bad("an escape");
        }
        int code = 0;
        for (int i = 0; i < 4; i++) {
            int digit = Character.digit(text.charAt(++at), 16);
            if (digit < 0 || text.charAt(at) > 'f') {
                throw bad("a hexadecimal digit");
            }
            code = code << 4 | digit;
        }
        return (char) code;
    }

    private int digits() {
        int from = at;
        while (at < text.length() && text.charAt(at) >= '0' && text.charAt(at) <= '9') {
            at++;
        }
        if (at == from) {
            throw bad("a value");
        }
        return at - from;
    }

    private Number number() {
        int from = at;
        if (at < text.length() && text.charAt(at) == '-') {
            at++;
        }
        boolean zero = at < text.length() && text.charAt(at) == '0';
        if (digits() > 1 && zero) {
            throw bad("no leading zero");
        }
        boolean whole = true;
        if (at < text.length() && text.charAt(at) == '.') {
            at++;
            digits();
            whole = false;
        }
        if (at < text.length() && (text.charAt(at) | 0x20) == 'e') {
            at++;
            if (at < text.length() && (text.charAt(at) == '+' || text.charAt(at) == '-')) {
                at++;
            }
            digits();
            whole = false;
        }
        String s = text.substring(from, at);
        if (s.length() > 10_000) { // turning digits into a number takes the square of their count
            throw new IllegalArgumentException("a number with " + s.length() + " digits");
        }
        if (!whole) {
            BigDecimal exact = new BigDecimal(s);
            double d = exact.doubleValue();
            // Compared as written: a large exponent must not be multiplied out.
            boolean same = !Double.isInfinite(d) && new BigDecimal(Double.toString(d)).stripTrailingZeros().equals(exact.stripTrailingZeros());
            return same ? (Number) d : exact;
        }
        if (s.length() < 19) {
            long n = Long.parseLong(s);
            return (int) n == n ? (Number) (int) n : (Number) n;
        }
        BigInteger n = new BigInteger(s);
        return n.bitLength() < 64 ? (Number) n.longValue() : n;
    }

    static byte[] write(Object value) throws ReflectiveOperationException {
        StringBuilder to = new StringBuilder();
        write(to, value, 0);
        return to.toString().getBytes(StandardCharsets.UTF_8);
    }

    private static void write(StringBuilder to, Object v, int depth) throws ReflectiveOperationException {
        if (depth > DEEPEST) {
            throw new IllegalArgumentException("nested deeper than " + DEEPEST + ", or in itself");
        }
        v = Types.plain(v);
        if (v == null || v instanceof Boolean) {
            to.append(v);
        } else if (v instanceof Number) {
            if ((v instanceof Double || v instanceof Float) && !Double.isFinite(((Number) v).doubleValue())) {
                throw new IllegalArgumentException("JSON has no " + v);
            }
            to.append(v);
        } else if (v instanceof Map) {
            char before = '{';
            for (Map.Entry<?, ?> e : ((Map<?, ?>) v).entrySet()) {
                to.append(before);
                quote(to, String.valueOf(e.getKey()));
                write(to.append(':'), e.getValue(), depth + 1);
                before = ',';
            }
            to.append(before == '{' ? "{}" : "}");
        } else if (v instanceof Iterable) {
            char before = '[';
            for (Object e : (Iterable<?>) v) {
                write(to.append(before), e, depth + 1);
                before = ',';
            }
            to.append(before == '[' ? "[]" : "]");
        } else if (v.getClass().isArray()) {
            to.append('[');
            for (int i = 0, n = Array.getLength(v); i < n; i++) {
                write(i == 0 ? to : to.append(','), Array.get(v, i), depth + 1);
            }
            to.append(']');
        } else {
            quote(to, v.toString());
        }
    }

    private static void quote(StringBuilder to, String s) {
        to.append('"');
        for (int i = 0; i < s.length(); i++) {
            char c = s.charAt(i);
            boolean pair = Character.isHighSurrogate(c) && i + 1 < s.length() && Character.isLowSurrogate(s.charAt(i + 1));
            if (c == '"' || c == '\\') {
                to.append('\\').append(c);
            } else if (pair) {
                to.append(c).append(s.charAt(++i));
            } else if (c < ' ' || Character.isSurrogate(c)) { // half a pair has no UTF-8
                to.append(String.format("\\u%04x", (int) c));
            } else {
                to.append(c);
            }
        }
        to.append('"');
    }
}
