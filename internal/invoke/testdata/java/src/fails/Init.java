package fails;

public class Init {
    public Init() {
        throw new IllegalArgumentException("secret constructor");
    }

    public Object handle(Object event) {
        return event;
    }

    public static class InStatic {
        static final int N = Integer.parseInt("secret static");

        public Object handle(Object event) {
            return event;
        }
    }

    public static class Exits {
        static {
            System.exit(9);
        }

        public Object handle(Object event) {
            return event;
        }
    }

    public static class Arguments {
        public Arguments(String s) {}

        public Object handle(Object event) {
            return event;
        }
    }
}
