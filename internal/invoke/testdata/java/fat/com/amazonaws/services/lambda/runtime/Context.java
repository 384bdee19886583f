package com.amazonaws.services.lambda.runtime;

/** As an early version of the library had it, with less in it than ours. */
public interface Context {
    String getAwsRequestId();

    String getFunctionName();

    LambdaLogger getLogger();
}
