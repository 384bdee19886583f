using System;
using System.Collections.Generic;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using Amazon.Lambda.Core;

namespace Tests
{
    /// <summary>Every way a method may be written.</summary>
    public class Forms
    {
        readonly string made = "made";

        public object Echo(object e) { return e; }

        public static object EchoStatic(object e) { return e; }

        public Stream Streams(Stream from, ILambdaContext context)
        {
            return new MemoryStream(Encoding.UTF8.GetBytes("[" + new StreamReader(from).ReadToEnd() + ",\"" + context.FunctionName + "\"]"));
        }

        public async Task<Stream> StreamsLater(Stream from)
        {
            await Task.Delay(5);
            return from;
        }

        public string Nothing() { return made; }

        public string OnlyContext(ILambdaContext context) { return context.FunctionVersion; }

        public void Silent(object e) { }

        public async Task SilentLater(object e) { await Task.Yield(); }

        public async Task<int> Sum(List<int> numbers)
        {
            await Task.Delay(5);
            int n = 0;
            foreach (int i in numbers)
            {
                n += i;
            }
            return n;
        }

        public ValueTask<string> Soon(string s) { return new ValueTask<string>(s + "!"); }

        public Item Known(Item i)
        {
            i.Name += "/" + i.Parts[0].Name;
            return i;
        }

        public class Item
        {
            public string Name { get; set; }
            public decimal Weight { get; set; }
            public List<Item> Parts { get; set; }
        }

        [LambdaSerializer(typeof(Upper))]
        public string Serialized(string s, ILambdaContext context) { return s + " handled"; }

        public class Upper : ILambdaSerializer
        {
            public T Deserialize<T>(Stream from) { return (T)(object)("read " + new StreamReader(from).ReadToEnd()); }

            public void Serialize<T>(T answer, Stream to)
            {
                byte[] b = Encoding.UTF8.GetBytes("\"" + answer.ToString().ToUpperInvariant() + "\"");
                to.Write(b, 0, b.Length);
            }
        }

        public List<object> Describe(object e, ILambdaContext context)
        {
            Console.WriteLine("printed");
            Console.Error.WriteLine("complained");
            context.Logger.LogLine("logged");
            context.Logger.Log("raw\n");
            return new List<object> {
                context.FunctionName, context.MemoryLimitInMB, context.AwsRequestId.Length, context.InvokedFunctionArn,
                context.RemainingTime > TimeSpan.Zero && context.RemainingTime <= TimeSpan.FromMinutes(1),
                Directory.GetCurrentDirectory(), Environment.GetEnvironmentVariable("OWN"), context.ClientContext, Part.Other.Value };
        }
    }

    /// <summary>Every way to end without an answer.</summary>
    public class Fails
    {
        class SadException : Exception
        {
            public SadException(string message, Exception cause) : base(message, cause) { }
        }

        public object Raises(Dictionary<string, string> e) { throw new SadException("secret " + e["n"], new InvalidOperationException("inner")); }

        public async Task<object> RaisesLater(object e)
        {
            await Task.Delay(5);
            throw new SadException("secret later", null);
        }

        public object Exits(object e)
        {
            Environment.Exit(4);
            return null;
        }

        public object Beside(object e)
        {
            var t = new Thread(() => { throw new SadException("secret beside", null); });
            t.Start();
            t.Join();
            Thread.Sleep(Timeout.Infinite);
            return null;
        }

        static readonly List<byte[]> Kept = new List<byte[]>();

        public object FillsHeap(object e)
        {
            for (;;)
            {
                Kept.Add(new byte[1 << 20]);
            }
        }

        public object FillsBeside(object e)
        {
            for (;;)
            {
                IntPtr p = Marshal.AllocHGlobal(1 << 20);
                for (int i = 0; i < 1 << 20; i += 4096)
                {
                    Marshal.WriteByte(p, i, 1);
                }
            }
        }

        public object Sleeps(object e)
        {
            Thread.Sleep(60000);
            return null;
        }

        public object Spins(object e)
        {
            for (;;)
            {
            }
        }

        public object Cycle(object e)
        {
            var l = new List<object>();
            l.Add(l);
            return l;
        }

        public int Whole(int n) { return n; }

        public string Large(object e) { return new string('x', 7 << 20); }

        public string Lingers(object e)
        {
            new Thread(() => { for (;;) { Thread.Yield(); } }).Start();
            return "answered";
        }

        public void Odd(string a, string b) { }
    }

    public class InitFails
    {
        public InitFails() { throw new ArgumentException("secret constructor"); }

        public object Handle(object e) { return e; }
    }

    public class InitExits
    {
        public InitExits() { Environment.Exit(9); }

        public object Handle(object e) { return e; }
    }

    public class Arguments
    {
        public Arguments(string s) { }

        public object Handle(object e) { return e; }
    }

    /// <summary>Draws from a library that no INIT has loaded, but a rehearsal; and says how many threads there are.</summary>
    public class LateDraws
    {
        [DllImport("libcrypto.so.3")]
        static extern int RAND_bytes(byte[] into, int n);

        public Dictionary<string, string> Handle(object e)
        {
            var drawn = new byte[16];
            RAND_bytes(drawn, drawn.Length);
            return new Dictionary<string, string> { { "openssl", Convert.ToBase64String(drawn) } };
        }

        public int Threads(object e) { return Directory.GetDirectories("/proc/self/task").Length; }
    }

    /// <summary>Draws from every generator there is; each was used before the event, so a copy would repeat.</summary>
    public class Draws
    {
        static readonly Random Shared = new Random();
        static readonly double ahead = Ahead();
        readonly Random own = new Random();

        /// <summary>Of the monotonic clock, in seconds.</summary>
        static double Ahead()
        {
            return DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 1000.0 - (double)System.Diagnostics.Stopwatch.GetTimestamp() / System.Diagnostics.Stopwatch.Frequency;
        }

        [DllImport("libcrypto.so.3")]
        static extern int RAND_bytes(byte[] into, int n);

        public Draws() { Handle(null); }

        public Dictionary<string, object> Handle(object e)
        {
            var open = new byte[16];
            var drawn = new Dictionary<string, object> {
                { "guid", Guid.NewGuid().ToString() }, { "new", Bytes(new Random()) }, { "static", Bytes(Shared) }, { "own", Bytes(own) },
                { "within", Bytes(Within.Kept) },
                { "name", Path.GetRandomFileName() }, { "file", Path.GetTempFileName() }, { "clock", DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 1000.0 },
                { "drift", Ahead() - ahead },
            };
            try
            {
                RAND_bytes(open, open.Length);
                drawn["openssl"] = Convert.ToBase64String(open);
            }
            catch (DllNotFoundException)
            {
            }
            return drawn;
        }

        static class Within
        {
            internal static readonly Random Kept = new Random();
        }

        static string Bytes(Random r)
        {
            var b = new byte[16];
            r.NextBytes(b);
            return Convert.ToBase64String(b);
        }
    }
}
