using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Threading;

namespace Tests
{
    // As edges.py.
    public class Edges
    {
        public class Event
        {
            public string Do { get; set; }
            public int Size { get; set; }
            public string Text { get; set; }
        }

        public object Handle(Event e)
        {
            switch (e.Do)
            {
                case "size": return new string('x', e.Size - 2);
                case "length": return e.Text.Length;
                case "fill": return Fill();
                case "files": return Files();
                case "processes": return Processes(e.Size);
                case "eat": return Eat();
                case "sleep": return Sleep();
                case "log": return Log(e.Size);
                default: throw new ArgumentException();
            }
        }

        static string Code(Exception failure)
        {
            var text = failure.Message;
            return text.Contains("No space left on device") ? "ENOSPC" : text.Contains("Too many open files") ? "EMFILE" : text;
        }

        static object Fill()
        {
            var block = new byte[65536];
            long done = 0;
            var f = new FileStream("/tmp/full", FileMode.Create, FileAccess.Write, FileShare.None, 1);
            try
            {
                for (;;)
                {
                    f.Write(block, 0, block.Length);
                    done += block.Length;
                }
            }
            catch (IOException failure)
            {
                return new List<object> { done, Code(failure) };
            }
        }

        static object Files()
        {
            var kept = new List<FileStream>();
            string said;
            try
            {
                for (;;) kept.Add(new FileStream("/dev/null", FileMode.Open, FileAccess.Read));
            }
            catch (IOException failure)
            {
                said = Code(failure);
            }
            var n = kept.Count;
            foreach (var f in kept) f.Dispose();
            return new List<object> { n, said };
        }

        static object Processes(int limit)
        {
            var end = new ManualResetEvent(false);
            var n = 0;
            try
            {
                for (; n < 2 * limit; n++)
                {
                    var thread = new Thread(() => end.WaitOne(), 65536);
                    thread.IsBackground = true;
                    thread.Start();
                }
                return new List<object> { n, "" };
            }
            catch (OutOfMemoryException) // what .NET makes of EAGAIN
            {
                return new List<object> { n, "EAGAIN" };
            }
            finally
            {
                end.Set();
            }
        }

        static object Eat()
        {
            var kept = new List<byte[]>();
            for (var n = 0; n < 4096; n++) kept.Add(Enumerable.Repeat((byte)1, 1 << 20).ToArray());
            return kept.Count;
        }

        static object Sleep()
        {
            Process.Start("/bin/sh", "-c \"trap '' TERM INT HUP; while :; do :; done\"");
            Thread.Sleep(600000);
            return null;
        }

        static object Log(int n)
        {
            Console.Write("head" + new string('.', n - 8) + "tail");
            Console.Out.Flush();
            return null;
        }
    }
}
