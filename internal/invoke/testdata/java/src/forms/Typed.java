package forms;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.util.List;

/** Lambda's interface, with its types given in a subclass. */
public class Typed extends Base<List<Long>> {
    String name(List<Long> input) {
        long n = 0;
        for (Long l : input) {
            n += l;
        }
        return "sum " + n;
    }
}

abstract class Base<T> implements RequestHandler<T, String> {
    public String handleRequest(T input, Context context) {
        return name(input) + " " + context.getMemoryLimitInMB();
    }

    abstract String name(T input);
}
