package forms;

import com.amazonaws.services.lambda.runtime.Context;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Every way a method may be written. */
public class Forms {
    private final String made = "made";

    public Object echo(Object event) {
        return event;
    }

    public static Object echoStatic(Object event) {
        return event;
    }

    public void streams(InputStream in, OutputStream out) throws IOException {
        in.transferTo(out);
    }

    public static void streamsStatic(InputStream in, OutputStream out, Context context) throws IOException {
        out.write('[');
        in.transferTo(out);
        out.write((",\"" + context.getFunctionName() + "\"]").getBytes());
    }

    public String nothing() {
        return made;
    }

    public String onlyContext(Context context) {
        return context.getFunctionVersion();
    }

    public void silent(Object event) {}

    public String text(String s, Context context) {
        return s + "!";
    }

    public int sum(List<Integer> numbers) {
        int n = 0;
        for (Integer i : numbers) {
            n += i;
        }
        return n;
    }

    public Map<String, BigDecimal> exact(Map<String, BigDecimal> m) {
        return new TreeMap<>(m);
    }

    public long[] array(long[] l) {
        return l;
    }

    public String overloaded(Object event) {
        return "one";
    }

    public String overloaded(Object event, Context context) {
        return "two";
    }

    public String overloaded(Object event, Context context, int more) {
        return "not a form";
    }

    String hidden(Object event) {
        return "hidden";
    }

    public enum Kind { NOTE, PHOTO }

    public static class Item {
        private String name;
        private Kind kind;
        private List<Item> parts = new ArrayList<>();
        public double weight;
        private java.util.Date at;

        public String getName() { return name; }
        public void setName(String name) { this.name = name; }
        public Kind getKind() { return kind; }
        public void setKind(Kind kind) { this.kind = kind; }
        public List<Item> getParts() { return parts; }
        public void setParts(List<Item> parts) { this.parts = parts; }
        public java.util.Date getAt() { return at; }
        public void setAt(java.util.Date at) { this.at = at; }
        public boolean isHeavy() { return weight > 1; }
    }

    public Item bean(Item i) {
        i.setName(i.getName() + "/" + i.getParts().get(0).getName());
        return i;
    }

    public List<Object> describe(Object event, Context context) {
        System.out.println("printed");
        System.err.println("complained");
        context.getLogger().log("logged");
        int left = context.getRemainingTimeInMillis();
        return java.util.Arrays.asList(context.getFunctionName(), context.getMemoryLimitInMB(), context.getAwsRequestId().length(),
            context.getInvokedFunctionArn(), left > 0 && left <= 60000, System.getProperty("user.dir"), System.getenv("OWN"),
            context.getIdentity().getIdentityId(), context.getClientContext(), "Grüße 😀");
    }
}
