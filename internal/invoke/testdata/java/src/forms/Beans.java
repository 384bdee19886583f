package forms;

import java.net.URI;
import java.time.Instant;
import java.util.Arrays;
import java.util.Calendar;
import java.util.Date;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TimeZone;

/** What real projects declare, and what stores of real data hold instead. */
public class Beans {
    public enum Kind {
        RUN, WALK;

        @Override
        public String toString() {
            return "the " + name();
        }
    }

    public static class Place {
        public String name;
    }

    public static class Work {
        private int steps;
        private double amount;
        private boolean done;
        private List<String> tags;
        private Kind kind;
        private Date when;
        private Place place;
        private String text;

        public int getSteps() { return steps; }
        public void setSteps(int steps) { this.steps = steps; }
        public double getAmount() { return amount; }
        public void setAmount(double amount) { this.amount = amount; }
        public boolean isDone() { return done; }
        public void setDone(boolean done) { this.done = done; }
        public List<String> getTags() { return tags; }
        public void setTags(List<String> tags) { this.tags = tags; }
        public Kind getKind() { return kind; }
        public void setKind(Kind kind) { this.kind = kind; }
        public Date getWhen() { return when; }
        public void setWhen(Date when) { this.when = when; }
        public Place getPlace() { return place; }
        public void setPlace(Place place) { this.place = place; }
        public String getText() { return text; }
        public void setText(String text) { this.text = text; }
    }

    /** As read, in words of Java's own. */
    public static String read(Work w) {
        return w.steps + " " + w.amount + " " + w.done + " " + w.tags + " " + (w.kind == null ? "-" : w.kind.name()) + " "
            + (w.when == null ? "-" : w.when.toInstant()) + " " + (w.place == null ? "-" : w.place.name) + " " + w.text;
    }

    public static class Odd {
        public String getURL() { return "u"; }
        public int getXAxis() { return 1; }
        public Boolean isFlag() { return true; }
        public String getNothing() { return null; }
        public double getNaN() { return Double.NaN; }
        public char[] getLetters() { return new char[] {'a', 'b'}; }
        public URI getLink() { return URI.create("urn:x"); }
        public Locale getLocale() { return Locale.GERMANY; }
        public Calendar getDay() {
            Calendar c = Calendar.getInstance(TimeZone.getTimeZone("UTC"));
            c.setTimeInMillis(86_400_000);
            return c;
        }
        public Instant getInstant() { return Instant.ofEpochSecond(1, 500_000_000); }
        public Map<Kind, Integer> getKinds() { return new EnumMap<>(Map.of(Kind.RUN, 1)); }
        public Map<String, Object> getMap() {
            Map<String, Object> m = new LinkedHashMap<>();
            m.put("gone", null);
            m.put("kept", Arrays.asList(1, null));
            return m;
        }
    }

    public static Odd odd(Object event) {
        return new Odd();
    }

    /** A function's own class of an event that AWS's library has a serialiser for by name must not break. */
    public static List<Work> many(List<Work> all) {
        return all;
    }
}
