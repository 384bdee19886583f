// The part of Amazon.Lambda.Core that a handler sees, as documented, so that the test needs no package index.
using System;
using System.IO;

namespace Amazon.Lambda.Core
{
    public interface ILambdaLogger
    {
        void Log(string message);
        void LogLine(string message);
    }

    public interface ILambdaContext
    {
        string AwsRequestId { get; }
        string FunctionName { get; }
        string FunctionVersion { get; }
        string InvokedFunctionArn { get; }
        ILambdaLogger Logger { get; }
        int MemoryLimitInMB { get; }
        TimeSpan RemainingTime { get; }
        object ClientContext { get; }
    }

    public interface ILambdaSerializer
    {
        T Deserialize<T>(Stream from);
        void Serialize<T>(T answer, Stream to);
    }

    [AttributeUsage(AttributeTargets.Assembly | AttributeTargets.Method)]
    public sealed class LambdaSerializerAttribute : Attribute
    {
        public LambdaSerializerAttribute(Type serializerType)
        {
            SerializerType = serializerType;
        }

        public Type SerializerType { get; private set; }
    }
}
