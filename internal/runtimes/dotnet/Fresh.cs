using System;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;
using System.Runtime.InteropServices;

namespace She.Runtime
{
    /// <summary>
    /// Seeds again what was seeded before the event: this process may be one of many copies of one that waited, and no
    /// two may draw the same numbers. What is to be seeded is found before, since the event waits for the rest.
    ///
    /// What is reached: the platform's own generators as seen by the thread that calls the handler, OpenSSL's, and the
    /// Randoms that the handler's class, the classes around and within it and the handler's object hold. A Random kept
    /// elsewhere is out of reach; one made after the event is new. Guid.NewGuid asks the kernel each time.
    /// </summary>
    sealed class Fresh
    {
        const BindingFlags Statics = BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly;
        const BindingFlags Fields = BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly;

        /// <summary>What a Random consists of.</summary>
        static readonly FieldInfo[] state = typeof(Random).GetFields(Fields);

        readonly object instance;
        readonly List<FieldInfo> holders = new List<FieldInfo>();
        readonly List<FieldInfo> ofThread = new List<FieldInfo>();

        public Fresh(Handler handler)
        {
            instance = handler.Instance;
            // The generator of seeds for new Randoms, and this thread's part of Random.Shared.
            Own(typeof(Random));
            foreach (Type t in typeof(Random).GetNestedTypes(BindingFlags.NonPublic))
            {
                ofThread.AddRange(t.GetFields(Statics).Where(f => f.Name == "t_random"));
            }
            Type outermost = handler.Type;
            while (outermost.DeclaringType != null)
            {
                outermost = outermost.DeclaringType;
            }
            Within(outermost);
            for (Type t = handler.Type.BaseType; t != null && t != typeof(object); t = t.BaseType)
            {
                Own(t);
            }
        }

        void Within(Type t)
        {
            Own(t);
            foreach (Type inner in t.GetNestedTypes(BindingFlags.Public | BindingFlags.NonPublic))
            {
                Within(inner);
            }
        }

        void Own(Type t)
        {
            if (t.ContainsGenericParameters)
            {
                return;
            }
            holders.AddRange(t.GetFields(Statics | Fields).Where(f =>
                typeof(Random).IsAssignableFrom(f.FieldType) && (f.IsStatic || t.IsInstanceOfType(instance))));
        }

        public void Randomness()
        {
            foreach (FieldInfo f in ofThread)
            {
                f.SetValue(null, null);
            }
            foreach (FieldInfo f in holders)
            {
                Reseed(f.GetValue(f.IsStatic ? null : instance) as Random);
            }
            OpenSsl();
        }

        /// <summary>Gives a generator the state of a new one.</summary>
        static void Reseed(Random old)
        {
            if (old == null || old.GetType() != typeof(Random))
            {
                return;
            }
            // From .NET 6 on, a Random without a seed gets one from the kernel; before, from a generator in this process.
            Random fresh = Environment.Version.Major >= 6 ? new Random() : new Random(BitConverter.ToInt32(Guid.NewGuid().ToByteArray(), 0));
            foreach (FieldInfo f in state)
            {
                f.SetValue(old, f.GetValue(fresh));
            }
        }

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        delegate void RandAdd(byte[] seed, int length, double entropy);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        delegate int Visit(IntPtr info, IntPtr size, IntPtr data);

        [DllImport("libc")]
        static extern int dl_iterate_phdr(Visit visit, IntPtr data);

        readonly List<RandAdd> openSsl = new List<RandAdd>();
        long loaded = -1;

        /// <summary>OpenSSL's generator, which RandomNumberGenerator uses, if it is in this process. Whether more was loaded
        /// since we looked last, the loader says without asking the kernel.</summary>
        void OpenSsl()
        {
            long now = loaded;
            var files = new List<string>();
            dl_iterate_phdr((info, size, data) =>
            {
                // struct dl_phdr_info { address; name; headers; their number; unsigned long long loads so far; … }
                now = Marshal.ReadInt64(info, 4 * IntPtr.Size);
                if (now == loaded)
                {
                    return 1;
                }
                string name = Marshal.PtrToStringAnsi(Marshal.ReadIntPtr(info, IntPtr.Size));
                if (name.Contains("/libcrypto.so"))
                {
                    files.Add(name);
                }
                return 0;
            }, IntPtr.Zero);
            if (now != loaded)
            {
                loaded = now;
                openSsl.Clear();
                foreach (string file in files)
                {
                    IntPtr library, add;
                    if (NativeLibrary.TryLoad(file, out library) && NativeLibrary.TryGetExport(library, "RAND_add", out add))
                    {
                        openSsl.Add(Marshal.GetDelegateForFunctionPointer<RandAdd>(add));
                    }
                }
            }
            foreach (RandAdd add in openSsl)
            {
                byte[] seed = Guid.NewGuid().ToByteArray().Concat(Guid.NewGuid().ToByteArray()).ToArray();
                add(seed, seed.Length, seed.Length);
            }
        }
    }
}
