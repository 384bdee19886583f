using System;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;

namespace She.Runtime
{
    /// <summary>
    /// What a handler gets as its last argument. The interface is the one in the package, of whatever version, so the
    /// object is made for it at run time and answers by the members' names.
    /// </summary>
    public class Invocation : DispatchProxy
    {
        IDictionary<string, string> headers;

        /// <summary>The environment as it was before the function's code.</summary>
        static readonly Dictionary<string, string> environment = new Dictionary<string, string>();

        public static void Remember()
        {
            foreach (System.Collections.DictionaryEntry e in Environment.GetEnvironmentVariables())
            {
                environment[(string)e.Key] = (string)e.Value;
            }
        }

        internal static string Named(string name)
        {
            string value;
            return environment.TryGetValue(name, out value) ? value : null;
        }

        public static object As(Type contract, IDictionary<string, string> headers)
        {
            object made = typeof(DispatchProxy).GetMethods()
                .First(m => m.Name == "Create" && m.GetGenericArguments().Length == 2)
                .MakeGenericMethod(contract, typeof(Invocation)).Invoke(null, null);
            ((Invocation)made).headers = headers;
            return made;
        }

        protected override object Invoke(MethodInfo member, object[] args)
        {
            switch (member.Name)
            {
                case "get_AwsRequestId": return Header("Lambda-Runtime-Aws-Request-Id");
                case "get_InvokedFunctionArn": return Header("Lambda-Runtime-Invoked-Function-Arn");
                case "get_TraceId": return Header("Lambda-Runtime-Trace-Id");
                case "get_FunctionName": return FunctionName();
                case "get_FunctionVersion": return Named("AWS_LAMBDA_FUNCTION_VERSION");
                case "get_LogGroupName": return "/aws/lambda/" + FunctionName();
                case "get_LogStreamName": return Named("AWS_LAMBDA_LOG_STREAM_NAME");
                case "get_MemoryLimitInMB": return Api.Number(Named("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"));
                case "get_RemainingTime":
                    long left = Api.Long(Header("Lambda-Runtime-Deadline-Ms")) - DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
                    return TimeSpan.FromMilliseconds(Math.Max(0, left));
                case "get_Logger": return As(member.ReturnType, headers);
            }
            if (member.Name.StartsWith("Log", StringComparison.Ordinal)) // a method of the logger; the message is the last text, after a level
            {
                var message = (string)args.LastOrDefault(a => a is string);
                Api.Message(member.Name == "Log" && args.Length == 1 ? message : message + "\n");
                return null;
            }
            Type t = member.ReturnType;
            return t != typeof(void) && t.IsValueType ? Activator.CreateInstance(t) : null;
        }

        /// <summary>Whether the event is for the first of two handlers.</summary>
        internal static bool IsFirst(IDictionary<string, string> headers)
        {
            string entry;
            return headers.TryGetValue("She-Entry", out entry) && entry == "first";
        }

        string FunctionName()
        {
            return Named(IsFirst(headers) ? "SHE_FIRST_NAME" : "AWS_LAMBDA_FUNCTION_NAME");
        }

        string Header(string name)
        {
            string value;
            return headers.TryGetValue(name, out value) ? value : "";
        }
    }
}
