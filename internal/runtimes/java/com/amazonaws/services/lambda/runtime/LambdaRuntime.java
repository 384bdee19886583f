package com.amazonaws.services.lambda.runtime;

import java.nio.charset.StandardCharsets;
import she.runtime.Log;

/** Where code without a Context finds the logger. */
public final class LambdaRuntime {
    private static final LambdaLogger LOGGER = new LambdaLogger() {
        public void log(String message) {
            log(String.valueOf(message).getBytes(StandardCharsets.UTF_8));
        }

        public void log(byte[] message) {
            Log.message(message);
        }
    };

    private LambdaRuntime() {}

    public static LambdaLogger getLogger() {
        return LOGGER;
    }
}
