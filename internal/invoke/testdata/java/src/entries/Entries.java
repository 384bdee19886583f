package entries;

import com.amazonaws.services.lambda.runtime.Context;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Two handlers that tell what both have seen in this process, and what they are called. */
public class Entries {
    private static final List<String> seen = new ArrayList<>();

    public Map<String, Object> process(String event, Context context) {
        return told("process", event, context);
    }

    public static Map<String, Object> bundle(String event, Context context) {
        return told("bundle", event, context);
    }

    private static Map<String, Object> told(String entry, String event, Context context) {
        System.out.println(entry + " says " + event);
        seen.add(entry);
        Map<String, Object> told = new LinkedHashMap<>();
        told.put("seen", seen);
        told.put("name", context.getFunctionName());
        told.put("group", context.getLogGroupName());
        told.put("arn", context.getInvokedFunctionArn());
        return told;
    }
}
