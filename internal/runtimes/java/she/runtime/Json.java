package she.runtime;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;

/**
 * Writes error documents: maps, lists, texts and nothing else. It is separate from the serialisation of answers, because
 * an error must be reported even after that has failed, and with hardly any memory. It can write any text, even with an
 * unpaired surrogate.
 */
final class Json {
    private Json() {}

    static byte[] write(Map<String, Object> document) {
        StringBuilder to = new StringBuilder();
        write(to, document);
        return to.toString().getBytes(StandardCharsets.UTF_8);
    }

    private static void write(StringBuilder to, Object v) {
        if (v == null) {
            to.append("null");
        } else if (v instanceof Map) {
            char before = '{';
            for (Map.Entry<?, ?> e : ((Map<?, ?>) v).entrySet()) {
                to.append(before);
                quote(to, (String) e.getKey());
                write(to.append(':'), e.getValue());
                before = ',';
            }
            to.append('}');
        } else if (v instanceof List) {
            List<?> list = (List<?>) v;
            to.append('[');
            for (int i = 0; i < list.size(); i++) {
                write(i == 0 ? to : to.append(','), list.get(i));
            }
            to.append(']');
        } else {
            quote(to, (String) v);
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
            } else if (c < ' ' || Character.isSurrogate(c)) { // an unpaired surrogate has no form in UTF-8
                to.append("\\u").append(Integer.toHexString(0x10000 | c), 1, 5); // not with a Formatter, which uses the locale
            } else {
                to.append(c);
            }
        }
        to.append('"');
    }
}
