// Runs an AWS Lambda handler written for .NET: asks the Runtime API for the event, calls the handler, reports.
// Format: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
//
// It is compiled on the host it runs on, by csc or by mcs, so it keeps to C# 6 and to what .NET Core 3.1 has.
using System;
using System.Collections.Generic;
using System.IO;
using System.Net;
using System.Net.Sockets;
using System.Text;

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
        static readonly string Api = Environment.GetEnvironmentVariable("AWS_LAMBDA_RUNTIME_API");

        /// <summary>Given up when memory runs out, so that there is some to say so.</summary>
        internal static byte[] Reserve = new byte[2 << 20];

        sealed class Reply
        {
            public readonly Dictionary<string, string> Headers = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
            public byte[] Body;
        }

        public static int Main()
        {
            Handler handler;
            Fresh fresh;
            try
            {
                handler = Handler.Find(Environment.GetEnvironmentVariable("_HANDLER"));
                fresh = new Fresh(handler);
                Warm(handler, fresh);
            }
            catch (Exception e)
            {
                Report("init/error", e);
                return 1;
            }
            for (;;)
            {
                Reply next = Request("GET", "invocation/next");
                fresh.Randomness();
                AnswerOne(handler, next);
            }
        }

        static void AnswerOne(Handler handler, Reply next)
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
            Console.Out.Flush();
            Console.Error.Flush();
            Request("POST", path + "response", answer);
        }

        /// <summary>Compiles before the event, and so before a copy is made, what will be needed after it. Runs nothing
        /// of the author's.</summary>
        static void Warm(Handler handler, Fresh fresh)
        {
            fresh.Randomness();
            var document = new StringBuilder();
            Document(document, new Fault("", "", new IOException()));
            Text(new IOException());
            handler.Warm();
            Console.Out.Flush();
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
            Quote(to, e.Message);
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
            foreach (string raw in (e.StackTrace ?? "").Split('\n'))
            {
                string line = raw.Trim();
                if (line.StartsWith("at She.Runtime.") || lines.Count == 200)
                {
                    break;
                }
                if (line != "")
                {
                    lines.Add(line);
                }
            }
            while (lines.Count > 0 && (lines[lines.Count - 1].StartsWith("at System.Reflection.") || lines[lines.Count - 1].StartsWith("at System.RuntimeMethodHandle.")
                || lines[lines.Count - 1].StartsWith("--- End of ")))
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
                to.Append(e == error ? "" : "caused by ").Append(TypeOf(e)).Append(": ").Append(e.Message).Append('\n');
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
                    to.Append("\\u").Append(((int)c).ToString("x4"));
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
            Console.Out.Flush();
            Console.Error.Write(Text(e));
            Console.Error.Flush();
            var document = new StringBuilder();
            Document(document, e);
            Request("POST", path, Encoding.UTF8.GetBytes(document.ToString()), e is OutOfMemoryException ? "Runtime.OutOfMemory" : TypeOf(e));
        }

        /// <summary>What requests go over; kept for the next one.</summary>
        static NetworkStream connection;
        static Stream replies;

        /// <summary>Sends one request to the Runtime API and gives what it said.</summary>
        static Reply Request(string method, string path, byte[] body = null, string errorType = null)
        {
            var head = new StringBuilder(method + " /2018-06-01/runtime/" + path + " HTTP/1.1\r\nHost: " + Api + "\r\n");
            if (body != null)
            {
                head.Append("Content-Type: application/json\r\nContent-Length: " + body.Length + "\r\n");
            }
            if (errorType != null)
            {
                head.Append("Lambda-Runtime-Function-Error-Type: " + Plain(errorType) + "\r\n");
            }
            byte[] first = Encoding.ASCII.GetBytes(head.Append("\r\n").ToString());
            if (connection != null)
            {
                try
                {
                    return Exchange(first, body);
                }
                catch (IOException)
                {
                    HangUp(); // a function may close what it did not open
                }
            }
            int colon = Api.LastIndexOf(':');
            var s = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            s.Connect(new IPEndPoint(IPAddress.Parse(Api.Substring(0, colon)), int.Parse(Api.Substring(colon + 1))));
            connection = new NetworkStream(s, true);
            replies = new BufferedStream(connection, 1 << 16);
            return Exchange(first, body);
        }

        static Reply Exchange(byte[] head, byte[] body)
        {
            if (body != null && body.Length <= 1 << 16) // one packet wakes the other side once
            {
                Array.Resize(ref head, head.Length + body.Length);
                body.CopyTo(head, head.Length - body.Length);
                body = null;
            }
            try
            {
                connection.Write(head, 0, head.Length);
                if (body != null)
                {
                    connection.Write(body, 0, body.Length);
                }
            }
            catch (IOException)
            {
                // Too large: the reply says so, if it still can be read; the other side knows anyway.
            }
            Reply r = Read(replies);
            string after;
            if (r.Headers.TryGetValue("Connection", out after) && after == "close")
            {
                HangUp();
            }
            return r;
        }

        static void HangUp()
        {
            connection.Dispose();
            connection = null;
        }

        static Reply Read(Stream from)
        {
            var r = new Reply();
            string line = Line(from);
            while ((line = Line(from)) != "")
            {
                int colon = line.IndexOf(':');
                if (colon > 0)
                {
                    r.Headers[line.Substring(0, colon)] = line.Substring(colon + 1).Trim();
                }
            }
            r.Body = new byte[int.Parse(r.Headers["Content-Length"])];
            for (int at = 0, n; at < r.Body.Length; at += n)
            {
                if ((n = from.Read(r.Body, at, r.Body.Length - at)) == 0)
                {
                    throw new EndOfStreamException("the Runtime API hung up");
                }
            }
            return r;
        }

        static string Line(Stream from)
        {
            var text = new StringBuilder();
            for (int c; (c = from.ReadByte()) != '\n';)
            {
                if (c < 0)
                {
                    throw new EndOfStreamException("the Runtime API hung up");
                }
                text.Append((char)c);
            }
            return text.ToString().Trim();
        }

        static string Plain(string name)
        {
            var to = new StringBuilder();
            foreach (char c in name)
            {
                if ((c < 128 && char.IsLetterOrDigit(c) || c == '_' || c == '.') && to.Length < 100)
                {
                    to.Append(c);
                }
            }
            return to.ToString();
        }
    }
}
