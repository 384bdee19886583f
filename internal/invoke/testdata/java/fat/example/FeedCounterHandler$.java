package example;

import com.amazonaws.services.lambda.runtime.Context;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import library.Resource;

/** What a Scala object compiles to: one instance, made when the class is loaded. */
public final class FeedCounterHandler$ {
    public static final FeedCounterHandler$ MODULE$ = new FeedCounterHandler$();

    private final String setting;

    private FeedCounterHandler$() {
        try {
            setting = Resource.read("reference.conf");
        } catch (IOException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    public void handle(InputStream event, OutputStream answer, Context context) throws IOException {
        context.getLogger().log("handling");
        answer.write(("[" + new String(event.readAllBytes()) + ",\"" + setting + "\",\"" + context.getFunctionName() + "\"]").getBytes());
        answer.close();
    }
}
