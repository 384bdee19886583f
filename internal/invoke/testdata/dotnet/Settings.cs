using System;
using System.Collections.Generic;
using System.Diagnostics.Tracing;
using System.Globalization;
using System.IO;
using System.Net;
using System.Net.Http;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using Amazon.Lambda.Core;

namespace Tests
{
    /// <summary>Sets what belongs to the whole process, at INIT and after each event; SETTING says what. Then it answers, or
    /// fails.</summary>
    public class Settings
    {
        static readonly string setting = Environment.GetEnvironmentVariable("SETTING");
        static readonly List<object> kept = new List<object>();

        public Settings()
        {
            if (setting != "files") // or there were none for the framework's own assemblies
            {
                Set();
            }
        }

        public class Item
        {
            public int Id { get; set; }
            public string Title { get; set; }
            public List<object> Info { get; set; }
        }

        public class OwnException : Exception
        {
            public OwnException(string message) : base(message) { }
        }

        public class MuteException : Exception
        {
            public override string Message { get { throw new InvalidOperationException(); } }
            public override string StackTrace { get { throw new InvalidOperationException(); } }
        }

        public Task<Item> Handle(Item item, ILambdaContext context)
        {
            Task<Item> answer = Answer(item, context);
            Set(); // of this thread, where a method that is async would take it back
            return answer;
        }

        static async Task<Item> Answer(Item item, ILambdaContext context)
        {
            context.Logger.LogLine("logged ä");
            await Task.Delay(1);
            await Task.Yield();
            if (item.Title == "fail")
            {
                throw new OwnException("secret ä\ud800");
            }
            if (item.Title == "mute")
            {
                throw new MuteException();
            }
            if (item.Title == "large") // the connection to the runtime API is lost by that
            {
                item.Title = new string('x', 7 << 20);
            }
            item.Id++;
            item.Info = new List<object> { context.FunctionName, context.MemoryLimitInMB, context.RemainingTime > TimeSpan.Zero };
            return item;
        }

        public Item Interrupted(Item item, ILambdaContext context)
        {
            Thread.Sleep(1); // it was not this event that is interrupted
            Item answer = Answer(item, context).GetAwaiter().GetResult();
            Thread.CurrentThread.Interrupt();
            return answer;
        }

        class Broken : TextWriter
        {
            public override Encoding Encoding { get { throw new InvalidOperationException("replaced"); } }
            public override void Write(char c) { throw new InvalidOperationException("replaced"); }
            public override void Write(string s) { throw new InvalidOperationException("replaced"); }
            public override void Flush() { throw new InvalidOperationException("replaced"); }
        }

        class BrokenCulture : CultureInfo
        {
            public BrokenCulture() : base("") { }
            public override object GetFormat(Type t) { throw new InvalidOperationException("replaced"); }
            public override NumberFormatInfo NumberFormat { get { throw new InvalidOperationException("replaced"); } }
        }

        class Nobody : SynchronizationContext
        {
            public override void Post(SendOrPostCallback what, object state) { }
            public override void Send(SendOrPostCallback what, object state) { }
        }

        class Listener : EventListener
        {
            protected override void OnEventSourceCreated(EventSource source) { EnableEvents(source, EventLevel.Verbose, EventKeywords.All); }
            protected override void OnEventWritten(EventWrittenEventArgs e) { Thread.Yield(); }
        }

        class Nowhere : IWebProxy
        {
            public ICredentials Credentials { get; set; }
            public Uri GetProxy(Uri to) { throw new InvalidOperationException("replaced"); }
            public bool IsBypassed(Uri to) { return false; }
        }

        [DllImport("libc")]
        static extern int close(int file);

        [DllImport("libc")]
        static extern int umask(int mask);

        [DllImport("libc")]
        static extern int open(string path, int flags);

        static void Set()
        {
            switch (setting)
            {
                case "streams":
                    Console.SetOut(new Broken());
                    Console.SetError(new Broken());
                    Console.SetIn(TextReader.Null);
                    break;
                case "closes":
                    Console.Out.Close();
                    close(0);
                    close(1);
                    close(2);
                    umask(511);
                    Environment.CurrentDirectory = "/";
                    break;
                case "culture":
                    var culture = new BrokenCulture();
                    CultureInfo.DefaultThreadCurrentCulture = CultureInfo.DefaultThreadCurrentUICulture = culture;
                    CultureInfo.CurrentCulture = CultureInfo.CurrentUICulture = culture;
                    break;
                case "contexts":
                    SynchronizationContext.SetSynchronizationContext(new Nobody());
                    int workers, ports;
                    ThreadPool.GetMinThreads(out workers, out ports);
                    ThreadPool.SetMinThreads(1, 1);
                    ThreadPool.SetMaxThreads(workers, ports);
                    break;
                case "environment":
                    foreach (object name in Environment.GetEnvironmentVariables().Keys)
                    {
                        Environment.SetEnvironmentVariable((string)name, null);
                    }
                    break;
                case "network":
                    HttpClient.DefaultProxy = new Nowhere();
                    ServicePointManager.DefaultConnectionLimit = 1;
                    AppContext.SetSwitch("System.Net.DisableIPv6", true);
                    AppContext.SetSwitch("System.Net.Http.UseSocketsHttpHandler", false);
                    if (kept.Count == 0)
                    {
                        kept.Add(new Listener());
                    }
                    break;
                case "threads":
                    AppDomain.CurrentDomain.UnhandledException += (s, e) => Environment.Exit(3);
                    AppDomain.CurrentDomain.FirstChanceException += (s, e) => { };
                    AppDomain.CurrentDomain.ProcessExit += (s, e) => Thread.Sleep(Timeout.Infinite);
                    new Thread(() => Thread.Sleep(Timeout.Infinite)).Start();
                    Thread.CurrentThread.Priority = ThreadPriority.Lowest;
                    break;
                case "files":
                    while (open("/dev/null", 0) >= 0)
                    {
                    }
                    break;
                case "connection":
                    for (int i = 3; i < 64; i++)
                    {
                        if (IsSocket(i))
                        {
                            close(i);
                        }
                    }
                    break;
            }
        }

        [DllImport("libc")]
        static extern int getsockname(int socket, byte[] address, ref int size);

        static bool IsSocket(int file)
        {
            int size = 16;
            var address = new byte[size];
            return getsockname(file, address, ref size) == 0 && address[0] == 2;
        }
    }
}
