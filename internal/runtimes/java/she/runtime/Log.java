package she.runtime;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/**
 * The runtime's own streams to the log. They are opened before the function's code is loaded, so it does not affect them
 * when it closes or replaces System.out and System.err, or sets their character set.
 */
public final class Log {
    private static final PrintStream FIRST_OUT = System.out;
    private static final PrintStream FIRST_ERR = System.err;
    private static final OutputStream OUT = open("/dev/stdout", FileDescriptor.out);
    private static final OutputStream ERR = open("/dev/stderr", FileDescriptor.err);

    private Log() {}

    private static OutputStream open(String device, FileDescriptor standard) {
        try {
            return new FileOutputStream(device);
        } catch (IOException e) {
            return new FileOutputStream(standard); // this machine has no such device
        }
    }

    /** A message of the function's logger. */
    public static void message(byte[] text) {
        flush();
        write(OUT, text);
    }

    /** What the runtime itself has to say of the function. */
    static void complain(String text) {
        flush();
        write(ERR, text.getBytes(StandardCharsets.UTF_8));
    }

    private static void write(OutputStream to, byte[] text) {
        try {
            to.write(text);
        } catch (IOException e) {
            // There is no log.
        }
    }

    /** Lets go what the function has printed, wherever it prints to by now. */
    static void flush() {
        for (PrintStream s : new PrintStream[] {FIRST_OUT, FIRST_ERR, System.out, System.err}) {
            try {
                s.flush();
            } catch (Throwable e) {
                // The function has replaced it, or set it to null.
            }
        }
    }
}
