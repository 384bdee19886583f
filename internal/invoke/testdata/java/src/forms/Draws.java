package forms;

import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.SplittableRandom;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;

/** Draws from every generator there is; each was used before the event, so a copy would repeat. */
public class Draws {
    private static final Random STATIC = new Random();
    private static final SecureRandom SECURE = new SecureRandom();
    private static final double AHEAD = ahead();
    private final Random own = new Random();

    /** Of the monotonic clock, in seconds. */
    private static double ahead() {
        return System.currentTimeMillis() / 1e3 - System.nanoTime() / 1e9;
    }

    static class Within {
        static final Random RANDOM = new Random();
    }

    public Draws() throws Exception {
        handle(null);
    }

    public Map<String, Object> handle(Object event) throws Exception {
        List<Integer> order = new ArrayList<>();
        for (int i = 0; i < 60; i++) {
            order.add(i);
        }
        Collections.shuffle(order);
        SecureRandom sha1 = SecureRandom.getInstance("SHA1PRNG");
        SecureRandom drbg = SecureRandom.getInstance("DRBG");
        Map<String, Object> drawn = new LinkedHashMap<>();
        drawn.put("uuid", UUID.randomUUID().toString());
        drawn.put("math", String.valueOf(Math.random()));
        drawn.put("thread local", ThreadLocalRandom.current().nextLong() + "");
        drawn.put("new", new Random().nextLong() + "");
        drawn.put("static", STATIC.nextLong() + "");
        drawn.put("own", own.nextLong() + "");
        drawn.put("within", Within.RANDOM.nextLong() + "");
        drawn.put("secure", SECURE.nextLong() + "");
        drawn.put("new secure", new SecureRandom().nextLong() + "");
        drawn.put("sha1", sha1.nextLong() + "");
        drawn.put("drbg", drbg.nextLong() + "");
        drawn.put("splittable", new SplittableRandom().nextLong() + "");
        drawn.put("order", order.toString());
        drawn.put("file", java.io.File.createTempFile("she", "").getName());
        drawn.put("folder", java.nio.file.Files.createTempDirectory("she").toString());
        java.security.KeyPairGenerator keys = java.security.KeyPairGenerator.getInstance("EC");
        drawn.put("key", java.util.Base64.getEncoder().encodeToString(keys.generateKeyPair().getPublic().getEncoded()));
        drawn.put("clock", System.currentTimeMillis() / 1000.0);
        drawn.put("drift", ahead() - AHEAD);
        return drawn;
    }
}
