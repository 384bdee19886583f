package words;

import java.util.List;
import java.util.Map;

/** Counts the words of notes, as the other languages of the benchmarks do. */
public class Words {
    public int handle(Map<String, Map<String, List<Map<String, Object>>>> event) {
        int n = 0;
        for (Map<String, Object> note : event.get("data").get("notes")) {
            n += ((String) ((Map<?, ?>) note.get("data")).get("message")).split(" ").length;
        }
        return n;
    }
}
