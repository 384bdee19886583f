package she.runtime;

import com.amazonaws.services.lambda.runtime.ClientContext;
import com.amazonaws.services.lambda.runtime.CognitoIdentity;
import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.LambdaLogger;
import java.nio.charset.StandardCharsets;
import java.util.Map;

/** What a handler gets as its last argument. */
final class Invocation implements Context {
    private final Map<String, String> headers;
    private final long deadline; // ms since 1970

    Invocation(Map<String, String> headers) {
        this.headers = headers;
        this.deadline = Long.parseLong(headers.getOrDefault("lambda-runtime-deadline-ms", "0"));
    }

    public String getAwsRequestId() {
        return headers.get("lambda-runtime-aws-request-id");
    }

    public String getInvokedFunctionArn() {
        return headers.getOrDefault("lambda-runtime-invoked-function-arn", "");
    }

    public String getLogGroupName() {
        return "/aws/lambda/" + getFunctionName();
    }

    public String getLogStreamName() {
        return Bootstrap.ENV.get("AWS_LAMBDA_LOG_STREAM_NAME");
    }

    public String getFunctionName() {
        return Bootstrap.ENV.get("first".equals(headers.get("she-entry")) ? "SHE_FIRST_NAME" : "AWS_LAMBDA_FUNCTION_NAME");
    }

    public String getFunctionVersion() {
        return Bootstrap.ENV.get("AWS_LAMBDA_FUNCTION_VERSION");
    }

    public int getMemoryLimitInMB() {
        return Integer.parseInt(Bootstrap.ENV.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"));
    }

    public int getRemainingTimeInMillis() {
        return (int) Math.max(0, deadline - System.currentTimeMillis());
    }

    public CognitoIdentity getIdentity() {
        return new CognitoIdentity() {
            public String getIdentityId() {
                return "";
            }

            public String getIdentityPoolId() {
                return "";
            }
        };
    }

    public ClientContext getClientContext() {
        return null;
    }

    public LambdaLogger getLogger() {
        return new Lines();
    }

    /** Each message is a line of the log. */
    private static final class Lines implements LambdaLogger {
        public void log(String message) {
            Log.message((message != null && message.endsWith("\n") ? message : message + "\n").getBytes(StandardCharsets.UTF_8));
        }

        public void log(byte[] message) {
            Log.message(message);
        }
    }
}
