package example;

import com.amazonaws.services.lambda.runtime.Context;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;

/** The forwarders Scala makes beside an object. */
public final class FeedCounterHandler {
    public static void handle(InputStream event, OutputStream answer, Context context) throws IOException {
        FeedCounterHandler$.MODULE$.handle(event, answer, context);
    }
}
