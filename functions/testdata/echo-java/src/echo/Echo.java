package echo;

import java.io.IOException;
import java.io.OutputStream;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** echo in Java: copies each record it is given, and links the copy to it. */
public class Echo {
    private static final String BUNDLE = "{\"name\":\"echo-java\",\"bundle\":{\"test/in\":{\"endpoints\":[{\"endpoint\":\"test/in\"}]}}}";

    /** Writes its answer itself, as handlers in Scala do. */
    public void configuration(InputStream event, OutputStream answer) throws IOException {
        answer.write(("{\"id\":\"echo-java\","
            + "\"info\":{\"version\":\"1.0.0\",\"versionReleaseDate\":\"2024-01-08T10:00:00.000Z\",\"name\":\"echo-java\","
            + "\"headline\":\"A function for tests\",\"description\":{\"text\":\"A function for tests\"},"
            + "\"termsUrl\":\"https://example.org/terms\",\"supportContact\":\"tests@example.org\",\"dataPreview\":[],"
            + "\"graphics\":{\"banner\":{\"normal\":\"\"},\"logo\":{\"normal\":\"\"},\"screenshots\":[]}},"
            + "\"developer\":{\"id\":\"tests\",\"name\":\"Tests\",\"url\":\"https://example.org\"},"
            + "\"trigger\":{\"triggerType\":\"individual\"},\"dataBundle\":" + BUNDLE + ","
            + "\"status\":{\"available\":true,\"enabled\":false}}").getBytes(StandardCharsets.UTF_8));
    }

    public void bundle(InputStream event, OutputStream answer) throws IOException {
        answer.write(BUNDLE.getBytes(StandardCharsets.UTF_8));
    }

    public List<Response> process(Event event) {
        List<Response> answers = new ArrayList<>();
        for (Item r : event.request.data.get("test/in")) {
            answers.add(new Response(Map.of("of", r.recordId, "data", r.data), r.recordId));
        }
        return answers;
    }

    public static class Event {
        public Request request;
    }

    public static class Request {
        public Map<String, List<Item>> data;
    }

    public static class Item {
        public String recordId;
        public Object data;
    }

    public static class Response {
        public final String namespace = "test";
        public final String endpoint = "out";
        public final List<Object> data;
        public final List<String> linkedRecords;

        Response(Object data, String link) {
            this.data = List.of(data);
            this.linkedRecords = List.of(link);
        }
    }
}
