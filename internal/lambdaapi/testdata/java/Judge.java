import java.net.URI;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.http.urlconnection.UrlConnectionHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.lambda.LambdaClient;
import software.amazon.awssdk.services.lambda.model.FunctionConfiguration;
import software.amazon.awssdk.services.lambda.model.InvocationType;
import software.amazon.awssdk.services.lambda.model.LambdaException;

/** Calls a function with the SDK for Java 2, unmodified, and prints what came of it. */
class Judge {
  public static void main(String[] args) {
    String name = args[0];
    try (LambdaClient client = LambdaClient.builder()
        .endpointOverride(URI.create(System.getenv("AWS_ENDPOINT_URL")))
        .region(Region.EU_WEST_1)
        .httpClient(UrlConnectionHttpClient.create())
        .build()) {
      var answer = client.invoke(r -> r.functionName(name).payload(SdkBytes.fromUtf8String("{\"n\":1}")).logType("Tail"));
      System.out.println("answer " + answer.payload().asUtf8String() + " " + answer.statusCode() + " " + answer.executedVersion());
      System.out.println("event " + client.invoke(r -> r.functionName(name).invocationType(InvocationType.EVENT).payload(SdkBytes.fromUtf8String("{}"))).statusCode());
      System.out.println("dry " + client.invoke(r -> r.functionName(name).invocationType(InvocationType.DRY_RUN)).statusCode());
      var names = client.listFunctionsPaginator().functions().stream().map(FunctionConfiguration::functionName).toList();
      System.out.println("list " + String.join(" ", names));
      try {
        client.invoke(r -> r.functionName("nobody"));
      } catch (LambdaException e) {
        System.out.println("error " + e.awsErrorDetails().errorCode() + " " + e.numAttempts());
      }
    }
  }
}
