package forms;

import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.SplittableRandom;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;

/** Draws from every generator there is; each was used before the event, so a copy would repeat. */
public class Draws {
    private static final Random STATIC = new Random();
    private static final SecureRandom SECURE = new SecureRandom();
    private final Random own = new Random();

    static class Within {
        static final Random RANDOM = new Random();
    }

    public Draws() throws Exception {
        handle(null);
    }

    public List<Object> handle(Object event) throws Exception {
        List<Integer> order = new ArrayList<>();
        for (int i = 0; i < 60; i++) {
            order.add(i);
        }
        Collections.shuffle(order);
        SecureRandom sha1 = SecureRandom.getInstance("SHA1PRNG");
        SecureRandom drbg = SecureRandom.getInstance("DRBG");
        return List.of(UUID.randomUUID().toString(), Math.random(), ThreadLocalRandom.current().nextLong(), new Random().nextLong(), STATIC.nextLong(),
            own.nextLong(), Within.RANDOM.nextLong(), SECURE.nextLong(), new SecureRandom().nextLong(), sha1.nextLong(), drbg.nextLong(),
            new SplittableRandom().nextLong(), order.toString());
    }
}
