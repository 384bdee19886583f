// Runs an AWS Lambda handler written for .NET: asks the Runtime API for the event, calls the handler, reports.
// Format: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
//
// It is compiled on the host, by csc or by mcs, so it uses only C# 6 and .NET Core 3.1.
//
// It shares a process with the function's code, which may change anything there: the console, the culture, contexts,
// the environment. So it opens and reads what it needs before that code is loaded, and relies on no such setting later.
using System;
using System.Collections.Generic;
using System.IO;
using System.Text;
using System.Threading;

namespace She.Runtime
{
    /// <summary>What Lambda calls an error that is not of the function's own making, or not only.</summary>
    public sealed class Fault : Exception
    {
        public readonly string Type;

        public Fault(string type, string message, Exception cause = null) : base(message, cause)
        {
            Type = type;
        }
    }

    public static class Bootstrap
    {
        /// <summary>Given up when memory runs out, so that there is some to say so.</summary>
        internal static byte[] Reserve;

        public static int Main()
        {
            Api.Open();
            Invocation.Remember();
            Warm();
            var own = new Entry("_HANDLER", "AWS_LAMBDA_FUNCTION_NAME");
            Entry first = null; // may get an event before the function's own handler does
            if (Invocation.Named("SHE_FIRST_HANDLER") != null)
            {
                first = new Entry("SHE_FIRST_HANDLER", "SHE_FIRST_NAME");
                Environment.SetEnvironmentVariable("SHE_FIRST_HANDLER", null);
                Environment.SetEnvironmentVariable("SHE_FIRST_NAME", null);
            }
            try
            {
                own.Load();
                if (first != null)
                {
                    first.Enter();
                    first.Load();
                    own.Enter();
                }
            }
            catch (Exception e)
            {
                Report("init/error", e);
                Api.Exit(1); // even if the function left threads, or registered exit handlers
                return 1;
            }
            for (;;)
            {
                Api.Reply next = Api.Request("GET", "invocation/next");
                own.Fresh.Randomness();
                Entry entry = own;
                if (first != null)
                {
                    first.Fresh.Randomness();
                    entry = Invocation.IsFirst(next.Headers) ? first : own;
                    entry.Enter();
                }
                Settle();
                AnswerOne(entry.Handler, next);
            }
        }

        /// <summary>One handler of this process, and what is set while it has an event.</summary>
        sealed class Entry
        {
            readonly string handler, name;
            public Handler Handler;
            public Fresh Fresh;

            public Entry(string handler, string name)
            {
                this.handler = Invocation.Named(handler);
                this.name = Invocation.Named(name);
            }

            public void Load()
            {
                Handler = Handler.Find(handler);
                Fresh = new Fresh(Handler);
                Fresh.Randomness();
                Handler.Warm();
            }

            public void Enter()
            {
                Environment.SetEnvironmentVariable("_HANDLER", handler);
                Environment.SetEnvironmentVariable("AWS_LAMBDA_FUNCTION_NAME", name);
                Environment.SetEnvironmentVariable("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/" + name);
            }
        }

        /// <summary>Takes back what was set for this thread and would have the handler wait for ever, or fail for no reason of
        /// its own: a context in which nobody runs what is posted to it, an interruption meant for what is over.</summary>
        static void Settle()
        {
            SynchronizationContext.SetSynchronizationContext(null);
            try
            {
                Thread.CurrentThread.Join(0);
            }
            catch (ThreadInterruptedException)
            {
            }
        }

        /// <summary>Lets go what the function has printed, wherever it prints to by now.</summary>
        static void Flush()
        {
            try
            {
                Console.Out.Flush();
                Console.Error.Flush();
            }
            catch (Exception)
            {
                // The function has replaced it.
            }
        }

        static void AnswerOne(Handler handler, Api.Reply next)
        {
            string path = "invocation/" + next.Headers["Lambda-Runtime-Aws-Request-Id"] + "/";
            string trace;
            next.Headers.TryGetValue("Lambda-Runtime-Trace-Id", out trace);
            Environment.SetEnvironmentVariable("_X_AMZN_TRACE_ID", trace);
            byte[] answer;
            try
            {
                answer = handler.Call(next.Body, next.Headers);
            }
            catch (Exception e)
            {
                Report(path + "error", e);
                return;
            }
            Flush();
            Api.Request("POST", path + "response", answer);
        }

        /// <summary>Compiles what will be needed later: before the event, and so before a copy is made, and before the
        /// function's code, which may leave no file to open. Runs nothing of the author's.</summary>
        static void Warm()
        {
            Reserve = new byte[2 << 20];
            var document = new StringBuilder();
            Document(document, new Fault("", "", new IOException("\n")));
            Text(new IOException());
            Settle();
            Flush();
            Api.Warm();
        }

        /// <summary>An exception of the function's may fail where it is asked for its own words.</summary>
        static string MessageOf(Exception e)
        {
            try
            {
                return e.Message ?? "";
            }
            catch (Exception)
            {
                return "(its text can't be had: Message throws)";
            }
        }

        static string StackOf(Exception e)
        {
            try
            {
                return e.StackTrace ?? "";
            }
            catch (Exception)
            {
                return "";
            }
        }

        static string TypeOf(Exception e)
        {
            var fault = e as Fault;
            return fault != null ? fault.Type : e.GetType().Name;
        }

        /// <summary>A function's error in Lambda's form.</summary>
        static void Document(StringBuilder to, Exception e, int depth = 0)
        {
            Exception shown = e is Fault && e.InnerException != null ? e.InnerException : e;
            to.Append("{\"errorMessage\":");
            Quote(to, MessageOf(e));
            to.Append(",\"errorType\":");
            Quote(to, TypeOf(e));
            to.Append(",\"stackTrace\":[");
            string between = "";
            foreach (string line in Trace(shown))
            {
                to.Append(between);
                Quote(to, line);
                between = ",";
            }
            to.Append(']');
            if (shown.InnerException != null && depth < 10)
            {
                to.Append(",\"cause\":");
                Document(to, shown.InnerException, depth + 1);
            }
            to.Append('}');
        }

        /// <summary>The function's own frames: from where it happened to where we called.</summary>
        static List<string> Trace(Exception e)
        {
            var lines = new List<string>();
            foreach (string raw in StackOf(e).Split('\n'))
            {
                string line = raw.Trim();
                if (line.StartsWith("at She.Runtime.", StringComparison.Ordinal) || lines.Count == 200)
                {
                    break;
                }
                if (line != "")
                {
                    lines.Add(line);
                }
            }
            while (lines.Count > 0 && (lines[lines.Count - 1].StartsWith("at System.Reflection.", StringComparison.Ordinal) || lines[lines.Count - 1].StartsWith("at System.RuntimeMethodHandle.", StringComparison.Ordinal)
                || lines[lines.Count - 1].StartsWith("--- End of ", StringComparison.Ordinal)))
            {
                lines.RemoveAt(lines.Count - 1);
            }
            return lines;
        }

        /// <summary>The same for the log.</summary>
        static string Text(Exception error)
        {
            var to = new StringBuilder("[ERROR] ");
            for (Exception e = error; e != null; e = e.InnerException)
            {
                to.Append(e == error ? "" : "caused by ").Append(TypeOf(e)).Append(": ").Append(MessageOf(e)).Append('\n');
                foreach (string line in Trace(e))
                {
                    to.Append("   ").Append(line).Append('\n');
                }
            }
            return to.ToString();
        }

        static void Quote(StringBuilder to, string s)
        {
            to.Append('"');
            foreach (char c in s)
            {
                if (c < ' ' || c == '"' || c == '\\' || char.IsSurrogate(c))
                {
                    to.Append("\\u");
                    for (int shift = 12; shift >= 0; shift -= 4)
                    {
                        to.Append("0123456789abcdef"[c >> shift & 15]);
                    }
                }
                else
                {
                    to.Append(c);
                }
            }
            to.Append('"');
        }

        static void Report(string path, Exception e)
        {
            if (e is OutOfMemoryException)
            {
                Reserve = null;
            }
            Flush();
            Api.Complain(Text(e));
            var document = new StringBuilder();
            Document(document, e);
            Api.Request("POST", path, Encoding.UTF8.GetBytes(document.ToString()), e is OutOfMemoryException ? "Runtime.OutOfMemory" : TypeOf(e));
        }
    }
}
