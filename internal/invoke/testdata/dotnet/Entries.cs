using System;
using System.Collections.Generic;
using Amazon.Lambda.Core;

namespace Tests
{
    // Two handlers that tell what both have seen in this process, and what they are called.
    public class Entries
    {
        static readonly List<string> seen = new List<string>();

        public object Process(string e, ILambdaContext context)
        {
            return Told("process", e, context);
        }

        public static object Bundle(string e, ILambdaContext context)
        {
            return Told("bundle", e, context);
        }

        static object Told(string entry, string e, ILambdaContext context)
        {
            Console.WriteLine(entry + " says " + e);
            seen.Add(entry);
            return new Dictionary<string, object>
            {
                { "seen", seen }, { "name", context.FunctionName }, { "group", Environment.GetEnvironmentVariable("AWS_LAMBDA_LOG_GROUP_NAME") }, { "arn", context.InvokedFunctionArn },
                { "env", Environment.GetEnvironmentVariable("AWS_LAMBDA_FUNCTION_NAME") }, { "handler", Environment.GetEnvironmentVariable("_HANDLER") },
            };
        }
    }
}
