package edges;

import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;

/** As edges.py. */
public class Edges {
    public Object handle(Map<String, Object> e) throws Exception {
        int n = e.containsKey("size") ? ((Number) e.get("size")).intValue() : 0;
        switch ((String) e.get("do")) {
            case "size": return "x".repeat(n - 2);
            case "length": return ((String) e.get("text")).length();
            case "fill": return fill();
            case "files": return files();
            case "processes": return processes(n);
            case "eat": return eat();
            case "sleep": return sleep();
            case "log": return log(n);
            default: throw new IllegalArgumentException();
        }
    }

    private static String code(Throwable failure) {
        String text = failure.getMessage();
        return text.contains("No space left on device") ? "ENOSPC"
            : text.contains("Too many open files") ? "EMFILE"
            : text.contains("error=11") || text.contains("unable to create native thread") ? "EAGAIN" : text;
    }

    private static Object fill() throws IOException {
        byte[] block = new byte[65536];
        long done = 0;
        try (FileOutputStream f = new FileOutputStream("/tmp/full")) {
            for (;;) {
                f.write(block); // the whole of it or an exception
                done += block.length;
            }
        } catch (IOException failure) {
            return List.of(done, code(failure));
        }
    }

    private static Object files() throws IOException {
        List<FileInputStream> kept = new ArrayList<>();
        try {
            for (;;) {
                kept.add(new FileInputStream("/dev/null"));
            }
        } catch (IOException failure) {
            int n = kept.size();
            for (FileInputStream f : kept) {
                f.close();
            }
            return List.of(n, code(failure));
        }
    }

    private static Object processes(int limit) {
        CountDownLatch end = new CountDownLatch(1);
        int n = 0;
        try {
            for (; n < 2 * limit; n++) {
                Thread thread = new Thread(null, () -> {
                    try {
                        end.await();
                    } catch (InterruptedException stopped) {
                        return;
                    }
                }, "", 65536);
                thread.setDaemon(true);
                thread.start();
            }
            return List.of(n, "");
        } catch (OutOfMemoryError failure) { // what the JVM makes of EAGAIN
            return List.of(n, code(failure));
        } finally {
            end.countDown();
        }
    }

    private static Object eat() {
        List<byte[]> kept = new ArrayList<>();
        for (int n = 0; n < 4096; n++) {
            byte[] block = new byte[1 << 20];
            Arrays.fill(block, (byte) 1);
            kept.add(block);
        }
        return kept.size();
    }

    private static Object sleep() throws Exception {
        new ProcessBuilder("/bin/sh", "-c", "trap '' TERM INT HUP; while :; do :; done").start();
        Thread.sleep(600_000);
        return null;
    }

    private static Object log(int n) {
        System.out.print("head" + ".".repeat(n - 8) + "tail");
        System.out.flush();
        return null;
    }
}
