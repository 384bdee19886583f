using System;
using System.Buffers;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Net;
using System.Net.Http;
using System.Net.Sockets;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using System.Text;
using System.Threading;

namespace Tests
{
    // As hostile.py.
    public class Hostile
    {
        public class Event
        {
            public string Do { get; set; }
            public string Mark { get; set; }
            public int Millis { get; set; }
            public bool Exit { get; set; }
            public int Large { get; set; }
            public string[] Now { get; set; }
            public string[] Later { get; set; }
            public string[] Paths { get; set; }
            public string Frame { get; set; }
            public string Target { get; set; }
        }

        sealed class Place
        {
            public Action<string> Leave;
            public Func<object> Find;
        }

        sealed class MarkedWriter : StreamWriter
        {
            public readonly string Mark;
            public MarkedWriter(Stream to, string mark) : base(to) { Mark = mark; AutoFlush = true; }
        }

        sealed class MarkedListener : TraceListener
        {
            public MarkedListener(string mark) { Name = mark; }
            public override void Write(string message) { }
            public override void WriteLine(string message) { }
        }

        sealed class Marker
        {
            public string Mark;
            public Assembly Resolve(object sender, ResolveEventArgs e) { kept["resolve"] = Mark; return null; }
            public Assembly Resolving(AssemblyLoadContext c, AssemblyName n) { kept["resolving"] = Mark; return null; }
            public void First(object sender, System.Runtime.ExceptionServices.FirstChanceExceptionEventArgs e) { kept["first"] = Mark; }
            public void Unhandled(object sender, UnhandledExceptionEventArgs e) { }
            public void Unobserved(object sender, System.Threading.Tasks.UnobservedTaskExceptionEventArgs e) { }
        }


        static readonly ConcurrentDictionary<string, string> kept = new ConcurrentDictionary<string, string>();
        static readonly AsyncLocal<string> flowing = new AsyncLocal<string>();
        static readonly System.Runtime.CompilerServices.ConditionalWeakTable<object, string> attached = new System.Runtime.CompilerServices.ConditionalWeakTable<object, string>();
        static readonly LocalDataStoreSlot slot = Thread.GetNamedDataSlot("she");
        [ThreadStatic] static string ofThread;
        static string field;
        static readonly int Port = int.Parse(Environment.GetEnvironmentVariable("PORT"));
        static TcpListener listener;
        static Timer timer;
        static FileStream file;
        readonly List<string> own = new List<string>();
        readonly Dictionary<string, Place> places = new Dictionary<string, Place>();

        void At(string name, Action<string> leave, Func<object> find) { places[name] = new Place { Leave = leave, Find = find }; }

        static FieldInfo Bootstrap(string type, string name)
        {
            return Assembly.GetEntryAssembly().GetType("She.Runtime." + type).GetField(name, BindingFlags.Static | BindingFlags.NonPublic | BindingFlags.Public);
        }

        static string Kept(string name) { string m; return kept.TryGetValue(name, out m) ? m : null; }

        static string Marked(Action provoke, string name)
        {
            try { provoke(); } catch (Exception) { }
            return Kept(name);
        }

        public Hostile()
        {
            At("static-field", m => field = m, () => field);
            At("handler-field", m => own.Add(m), () => own.LastOrDefault());
            At("bootstrap-field", m => Bootstrap("Bootstrap", "Reserve").SetValue(null, Encoding.ASCII.GetBytes(m)), () => Encoding.ASCII.GetString((byte[])Bootstrap("Bootstrap", "Reserve").GetValue(null)));
            At("thread-static", m => ofThread = m, () => ofThread);
            At("thread-slot", m => Thread.SetData(slot, m), () => Thread.GetData(slot));
            At("async-local", m => flowing.Value = m, () => flowing.Value);
            At("domain-data", m => AppDomain.CurrentDomain.SetData("she", m), () => AppDomain.CurrentDomain.GetData("she"));
            At("attached-object", m => { attached.Remove(typeof(string)); attached.Add(typeof(string), m); }, () => { string m; return attached.TryGetValue(typeof(string), out m) ? m : null; });
            At("out", m => Console.SetOut(new MarkedWriter(Console.OpenStandardOutput(), m)), () => Unwrapped(Console.Out));
            At("error", m => Console.SetError(new MarkedWriter(Console.OpenStandardError(), m)), () => Unwrapped(Console.Error));
            At("in", m => Console.SetIn(new StringReader(m)), () => { var text = Console.In.ReadToEnd(); Console.SetIn(new StringReader(text)); return text; });
            At("resolve", m => AppDomain.CurrentDomain.AssemblyResolve += new Marker { Mark = m }.Resolve, () => Marked(() => Assembly.Load("She.None" + Guid.NewGuid()), "resolve"));
            At("resolving", m => AssemblyLoadContext.Default.Resolving += new Marker { Mark = m }.Resolving, () => Marked(() => Assembly.Load("She.None" + Guid.NewGuid()), "resolving"));
            At("first-chance", m => AppDomain.CurrentDomain.FirstChanceException += new Marker { Mark = m }.First, () => Marked(() => { throw new Exception(); }, "first"));
            At("unhandled", m => AppDomain.CurrentDomain.UnhandledException += new Marker { Mark = m }.Unhandled, () => OfEvent(typeof(AppDomain), AppDomain.CurrentDomain, "UnhandledException"));
            At("unobserved", m => System.Threading.Tasks.TaskScheduler.UnobservedTaskException += new Marker { Mark = m }.Unobserved, () => OfEvent(typeof(System.Threading.Tasks.TaskScheduler), null, "UnobservedTaskException"));
            At("culture", m => CultureInfo.DefaultThreadCurrentCulture = Culture(m), () => CultureInfo.DefaultThreadCurrentCulture.NumberFormat.CurrencySymbol);
            At("trace-listener", m => Trace.Listeners.Add(new MarkedListener(m)), () => Trace.Listeners[Trace.Listeners.Count - 1].Name);
            At("proxy", m => HttpClient.DefaultProxy = new WebProxy("http://" + m + ".invalid:1"), () => ((WebProxy)HttpClient.DefaultProxy).Address);
            At("service-point", m => ServicePointManager.ServerCertificateValidationCallback = (a, b, c, d) => m.Length > 0, () => Target(ServicePointManager.ServerCertificateValidationCallback));
            At("array-pool", m => { var b = ArrayPool<byte>.Shared.Rent(5000); Encoding.ASCII.GetBytes(m).CopyTo(b, 0); ArrayPool<byte>.Shared.Return(b); }, () => Rented());
            At("environment", m => Environment.SetEnvironmentVariable("SHE_MARK", m), () => Environment.GetEnvironmentVariable("SHE_MARK"));
            At("directory", m => { Directory.CreateDirectory("/tmp/" + m); Environment.CurrentDirectory = "/tmp/" + m; }, () => Environment.CurrentDirectory);
            At("thread", m =>
            {
                var t = new Thread(() => { for (;;) { kept["thread"] = m; Thread.Sleep(10); } });
                t.IsBackground = true;
                t.Start();
            }, () => Kept("thread"));
            At("timer", m => timer = new Timer(_ => kept["timer"] = m, null, 0, 10), () => { Thread.Sleep(30); return Kept("timer"); });
            At("pool", m => { var done = new ManualResetEvent(false); ThreadPool.QueueUserWorkItem(_ => { kept["pool"] = m; done.Set(); }); done.WaitOne(); }, () => Kept("pool"));
            At("child", m => Process.Start("/bin/sh", "-c \"sleep 30; : " + m + "\""), () => Children());
            At("listener", Listen, () =>
            {
                using (var c = new TcpClient("127.0.0.1", Port)) return new StreamReader(c.GetStream()).ReadToEnd();
            });
            At("open-file", m =>
            {
                file = new FileStream("/tmp/she-deleted", FileMode.Create, FileAccess.ReadWrite);
                file.Write(Encoding.ASCII.GetBytes(m), 0, m.Length);
                file.Flush();
                File.Delete("/tmp/she-deleted");
            }, () => { if (file == null) return null; file.Position = 0; var b = new byte[100]; return Encoding.ASCII.GetString(b, 0, file.Read(b, 0, 100)); });
            At("tmp", m => File.WriteAllText("/tmp/she-left", m), () => File.ReadAllText("/tmp/she-left"));
            At("shm", m => File.WriteAllText("/dev/shm/she-left", m), () => File.ReadAllText("/dev/shm/she-left"));
        }

        static string Unwrapped(TextWriter w) // the console puts a lock around
        {
            var inner = w.GetType().GetField("_out", BindingFlags.Instance | BindingFlags.NonPublic);
            return ((MarkedWriter)(inner == null ? w : inner.GetValue(w))).Mark;
        }

        static object OfEvent(Type t, object of, string name)
        {
            const BindingFlags any = BindingFlags.Static | BindingFlags.Instance | BindingFlags.NonPublic;
            for (; t != null; t = t.BaseType)
            {
                var f = t.GetFields(any).FirstOrDefault(g => g.Name.EndsWith(name, StringComparison.Ordinal) || g.Name == "_" + char.ToLower(name[0]) + name.Substring(1));
                if (f != null) return Target((Delegate)f.GetValue(f.IsStatic ? null : of));
            }
            return Target((Delegate)typeof(AppContext).GetFields(any).Single(g => g.Name == name).GetValue(null));
        }

        static string Target(Delegate d)
        {
            if (d == null) return null;
            object to = d.GetInvocationList().Last().Target;
            var f = to.GetType().GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic).First(g => g.FieldType == typeof(string));
            return (string)f.GetValue(to);
        }

        static CultureInfo Culture(string m)
        {
            var c = (CultureInfo)CultureInfo.InvariantCulture.Clone();
            c.NumberFormat.CurrencySymbol = m;
            return c;
        }

        static string Rented()
        {
            var b = ArrayPool<byte>.Shared.Rent(5000);
            var text = Encoding.ASCII.GetString(b, 0, 100);
            ArrayPool<byte>.Shared.Return(b);
            return text;
        }

        static string Children()
        {
            string found = null;
            foreach (var d in Directory.GetDirectories("/proc").Where(d => char.IsDigit(d[6])))
            {
                try
                {
                    var line = File.ReadAllText(d + "/cmdline");
                    found = line.Contains("sleep 30; : ") ? line : found;
                }
                catch (IOException) { }
                catch (UnauthorizedAccessException) { }
            }
            return found;
        }

        static void Listen(string m)
        {
            kept["listener"] = m;
            if (listener != null) return;
            var l = listener = new TcpListener(IPAddress.Loopback, Port);
            l.Start();
            var t = new Thread(() =>
            {
                try
                {
                    for (;;) using (var c = l.AcceptTcpClient()) c.GetStream().Write(Encoding.ASCII.GetBytes(kept["listener"]), 0, m.Length);
                }
                catch (Exception) { } // closed
            });
            t.IsBackground = true;
            t.Start();
        }

        public object Handle(Event e, Amazon.Lambda.Core.ILambdaContext context)
        {
            switch (e.Do)
            {
                case "leave": return Leave(e.Mark);
                case "find": return Find(e.Millis);
                case "hold":
                    var began = Now();
                    Leave(e.Mark);
                    var left = Now();
                    Thread.Sleep(e.Millis);
                    return new Dictionary<string, double> { { "began", began }, { "left", left }, { "ended", Now() } };
                case "exit":
                    AppDomain.CurrentDomain.ProcessExit += (s, a) => { Console.Out.Write(e.Mark); Console.Out.Flush(); };
                    if (e.Exit) Environment.Exit(0);
                    return null;
                case "speak": return Speak(e, context.AwsRequestId);
                case "frames": return Frames(e);
                case "send": return Send(e);
                case "fail": throw new InvalidOperationException(e.Mark, new IOException(e.Mark));
                default: throw new ArgumentException();
            }
        }

        static double Now() { return DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 1000.0; }

        List<string> Leave(string m)
        {
            var left = new List<string>();
            foreach (var p in places)
            {
                try
                {
                    p.Value.Leave(m);
                    left.Add(p.Key);
                }
                catch (Exception failure) { Console.Error.WriteLine(p.Key + ": " + failure); }
            }
            return left;
        }

        Dictionary<string, string> Find(int millis)
        {
            var found = new Dictionary<string, string>();
            var clock = Stopwatch.StartNew();
            for (;;)
            {
                foreach (var p in places)
                {
                    try
                    {
                        var text = (p.Value.Find() ?? "").ToString();
                        if (text.Contains("shemark") && !found.ContainsKey(p.Key)) found[p.Key] = text;
                    }
                    catch (Exception) { } // nothing there
                }
                if (clock.ElapsedMilliseconds >= millis) return found;
                Thread.Sleep(20);
            }
        }

        static string Raw(string request, string id)
        {
            var at = Environment.GetEnvironmentVariable("AWS_LAMBDA_RUNTIME_API").Split(':');
            try
            {
                using (var c = new TcpClient(at[0], int.Parse(at[1])))
                {
                    var s = c.GetStream();
                    s.ReadTimeout = 20000;
                    var b = Encoding.UTF8.GetBytes(request.Replace("{id}", id));
                    try { s.Write(b, 0, b.Length); } catch (IOException) { } // the reply may say why
                    return new StreamReader(s).ReadLine() ?? "";
                }
            }
            catch (Exception failure) { return failure.Message; }
        }

        static object Speak(Event e, string id)
        {
            var replies = (e.Now ?? new string[0]).Select(r => Raw(r.Replace("{large}", new string('h', e.Large)), id)).ToArray();
            var t = new Thread(() =>
            {
                Thread.Sleep(50);
                foreach (var r in e.Later ?? new string[0])
                {
                    if (r.StartsWith("print ")) Console.WriteLine(r.Substring(6));
                    else Raw(r, id);
                }
            });
            t.IsBackground = true;
            t.Start();
            Thread.Sleep(e.Millis);
            return new Dictionary<string, object> { { "replies", replies }, { "mark", e.Mark } };
        }

        [DllImport("libc")]
        static extern int readlink(string path, byte[] into, IntPtr n);

        static object Frames(Event e)
        {
            var frame = Enumerable.Range(0, e.Frame.Length / 2).Select(i => Convert.ToByte(e.Frame.Substring(2 * i, 2), 16)).ToArray();
            using (var o = Console.OpenStandardOutput()) o.Write(frame, 0, frame.Length);
            foreach (var folder in e.Paths.Where(Directory.Exists))
            {
                try
                {
                    foreach (var path in Directory.GetFileSystemEntries(folder))
                    {
                        var to = new byte[100];
                        var n = readlink(path, to, (IntPtr)to.Length);
                        if (n < 5 || !Encoding.ASCII.GetString(to, 0, n).StartsWith("pipe:")) continue;
                        try
                        {
                            using (var f = new FileStream(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite, 1)) f.Write(frame, 0, frame.Length);
                        }
                        catch (Exception) { }
                    }
                }
                catch (Exception) { } // not ours to see
            }
            return new Dictionary<string, string> { { "mark", e.Mark } };
        }

        static object Send(Event e)
        {
            var at = e.Target.Split(':');
            try { using (var c = new HttpClient { Timeout = TimeSpan.FromSeconds(2) }) c.GetStringAsync("http://" + e.Target + "/" + e.Mark + "-client").Wait(); }
            catch (Exception) { }
            try
            {
                using (var c = new TcpClient(at[0], int.Parse(at[1])))
                {
                    var b = Encoding.ASCII.GetBytes("GET /" + e.Mark + "-stream HTTP/1.0\r\n\r\n");
                    c.GetStream().Write(b, 0, b.Length);
                    c.GetStream().ReadByte();
                }
            }
            catch (Exception) { }
            try
            {
                using (var c = new UdpClient())
                {
                    var b = Encoding.ASCII.GetBytes(e.Mark + "-packet");
                    c.Send(b, b.Length, at[0], int.Parse(at[1]));
                }
            }
            catch (Exception) { }
            return null;
        }
    }
}
