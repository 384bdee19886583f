package library;

import java.io.IOException;
import java.io.InputStream;

public final class Resource {
    public static String read(String name) throws IOException {
        try (InputStream in = Thread.currentThread().getContextClassLoader().getResourceAsStream(name)) {
            return new String(in.readAllBytes()).trim();
        }
    }
}
