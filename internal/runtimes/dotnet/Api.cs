using System;
using System.Collections.Generic;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;

namespace She.Runtime
{
    /// <summary>
    /// Speaks to the Runtime API, and to the log, past everything that a function may set for its process: by the kernel's own
    /// calls, over descriptors that are opened before the function's code is loaded. Numbers are read and written here, since
    /// those of .NET ask the culture.
    /// </summary>
    static class Api
    {
        static readonly string address = Environment.GetEnvironmentVariable("AWS_LAMBDA_RUNTIME_API");

        public sealed class Reply
        {
            public readonly Dictionary<string, string> Headers = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
            public byte[] Body;
        }

        [DllImport("libc", EntryPoint = "socket", SetLastError = true)]
        static extern int NewSocket(int family, int type, int protocol);

        [DllImport("libc", EntryPoint = "setsockopt", SetLastError = true)]
        static extern int SetOption(int socket, int level, int option, ref int value, int size);

        [DllImport("libc", EntryPoint = "connect", SetLastError = true)]
        static extern int Connect(int socket, byte[] to, int size);

        [DllImport("libc", EntryPoint = "send", SetLastError = true)]
        static extern IntPtr Send(int socket, ref byte from, IntPtr size, int flags);

        [DllImport("libc", EntryPoint = "recv", SetLastError = true)]
        static extern IntPtr Receive(int socket, ref byte to, IntPtr size, int flags);

        [DllImport("libc", EntryPoint = "write", SetLastError = true)]
        static extern IntPtr Write(int file, ref byte from, IntPtr size);

        [DllImport("libc", EntryPoint = "fcntl", SetLastError = true)]
        static extern int Control(int file, int command, int argument);

        [DllImport("libc", EntryPoint = "close")]
        static extern int Close(int file);

        [DllImport("libc", EntryPoint = "_exit")]
        static extern void End(int status);

        const int Family = 2, Stream = 1 | 0x80000, Tcp = 6, NoDelay = 1, NoSignal = 0x4000, DuplicateAbove = 1030, Interrupted = 4, Again = 11;

        static int connection = -1; // kept for the next request
        static readonly byte[] buffer = new byte[1 << 16];
        static int at, end; // received bytes that were not read yet

        static int output, errors;

        /// <summary>Opens what is needed later.</summary>
        public static void Open()
        {
            output = Control(1, DuplicateAbove, 3);
            errors = Control(2, DuplicateAbove, 3);
            connection = Connected();
        }

        /// <summary>Compiles what a request takes.</summary>
        public static void Warm()
        {
            Complain("");
            at = 0;
            end = Encoding.ASCII.GetBytes("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0, 38, buffer, 0);
            Read();
            Sent(new byte[0]);
            Digits(1);
            Plain("a");
        }

        static int Connected()
        {
            int colon = address.LastIndexOf(':');
            int port = Number(address.Substring(colon + 1));
            var to = new byte[16]; // struct sockaddr_in
            to[0] = Family;
            to[2] = (byte)(port >> 8);
            to[3] = (byte)port;
            string[] numbers = address.Substring(0, colon).Split('.');
            for (int i = 0; i < 4; i++)
            {
                to[4 + i] = (byte)Number(numbers[i]);
            }
            at = end = 0;
            int s = NewSocket(Family, Stream, Tcp), yes = 1;
            if (s >= 0 && s <= 2) // if the function closed a standard stream, its output would go into this connection
            {
                int low = s;
                s = Control(low, DuplicateAbove, 3);
                Close(low);
            }
            if (s < 0 || SetOption(s, Tcp, NoDelay, ref yes, 4) != 0 || Connect(s, to, to.Length) != 0)
            {
                throw new IOException("no connection to the Runtime API");
            }
            return s;
        }

        /// <summary>A message of the function's logger.</summary>
        public static void Message(string text)
        {
            Print(output, text);
        }

        /// <summary>What the runtime itself has to say of the function.</summary>
        public static void Complain(string text)
        {
            Print(errors, text);
        }

        static void Print(int file, string text)
        {
            byte[] all = Encoding.UTF8.GetBytes(text);
            for (int i = 0; i < all.Length;)
            {
                int n = (int)Write(file, ref all[i], (IntPtr)(all.Length - i));
                if (n > 0)
                {
                    i += n;
                }
                else if (Marshal.GetLastWin32Error() != Interrupted)
                {
                    return; // there is no log
                }
            }
        }

        /// <summary>Ends this process at once, whatever threads and handlers of its end it has.</summary>
        public static void Exit(int status)
        {
            End(status);
        }

        /// <summary>Sends one request and gives what was said.</summary>
        public static Reply Request(string method, string path, byte[] body = null, string errorType = null)
        {
            var head = new StringBuilder(method + " /2018-06-01/runtime/" + path + " HTTP/1.1\r\nHost: " + address + "\r\n");
            if (body != null)
            {
                head.Append("Content-Type: application/json\r\nContent-Length: ").Append(Digits(body.Length)).Append("\r\n");
            }
            if (errorType != null)
            {
                head.Append("Lambda-Runtime-Function-Error-Type: ").Append(Plain(errorType)).Append("\r\n");
            }
            byte[] first = Encoding.ASCII.GetBytes(head.Append("\r\n").ToString());
            if (connection >= 0)
            {
                try
                {
                    return Exchange(first, body);
                }
                catch (IOException)
                {
                    connection = -1; // a function may have closed it, and the number may be another file's by now
                }
            }
            connection = Connected();
            return Exchange(first, body);
        }

        static Reply Exchange(byte[] head, byte[] body)
        {
            if (body != null && body.Length <= 1 << 16) // one packet wakes the other side only once
            {
                Array.Resize(ref head, head.Length + body.Length);
                body.CopyTo(head, head.Length - body.Length);
                body = null;
            }
            // A body that is too large is refused while it is sent. The reply says so, if it can still be read.
            if (Sent(head) && body != null)
            {
                Sent(body);
            }
            Reply r = Read();
            string after;
            if (r.Headers.TryGetValue("Connection", out after) && after == "close")
            {
                Close(connection);
                connection = -1;
            }
            return r;
        }

        static bool Sent(byte[] all)
        {
            for (int i = 0; i < all.Length;)
            {
                int n = (int)Send(connection, ref all[i], (IntPtr)(all.Length - i), NoSignal);
                if (n >= 0)
                {
                    i += n;
                }
                else if (!Retry())
                {
                    return false;
                }
            }
            return true;
        }

        static bool Retry()
        {
            int why = Marshal.GetLastWin32Error();
            return why == Interrupted || why == Again;
        }

        static int Received(byte[] to, int from, int size)
        {
            for (;;)
            {
                int n = (int)Receive(connection, ref to[from], (IntPtr)size, 0);
                if (n > 0)
                {
                    return n;
                }
                if (n == 0 || !Retry())
                {
                    throw new IOException("the Runtime API hung up");
                }
            }
        }

        static Reply Read()
        {
            var r = new Reply();
            string line = Line();
            while ((line = Line()) != "")
            {
                int colon = line.IndexOf(':');
                if (colon > 0)
                {
                    r.Headers[line.Substring(0, colon)] = line.Substring(colon + 1).Trim();
                }
            }
            r.Body = new byte[Number(r.Headers["Content-Length"])];
            int have = Math.Min(end - at, r.Body.Length);
            Buffer.BlockCopy(buffer, at, r.Body, 0, have);
            at += have;
            while (have < r.Body.Length)
            {
                have += Received(r.Body, have, r.Body.Length - have);
            }
            return r;
        }

        static string Line()
        {
            var text = new StringBuilder();
            for (;;)
            {
                if (at == end)
                {
                    at = 0;
                    end = Received(buffer, 0, buffer.Length);
                }
                char c = (char)buffer[at++];
                if (c == '\n')
                {
                    return text.ToString().Trim();
                }
                text.Append(c);
            }
        }

        /// <summary>The number that digits say.</summary>
        public static int Number(string digits)
        {
            return (int)Long(digits);
        }

        public static long Long(string digits)
        {
            long n = 0;
            foreach (char c in digits)
            {
                n = 10 * n + (c - '0');
            }
            return n;
        }

        static string Digits(int n)
        {
            var to = new StringBuilder();
            do
            {
                to.Insert(0, (char)('0' + n % 10));
            }
            while ((n /= 10) > 0);
            return to.ToString();
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
