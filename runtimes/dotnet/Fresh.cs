using System;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Runtime.InteropServices;

namespace She.Runtime
{
    /// <summary>
    /// Seeds again what was seeded before the event: this process may be one of many copies of one that waited, and no
    /// two may draw the same numbers.
    ///
    /// What is reached: the platform's own generators as seen by the thread that calls the handler, OpenSSL's, and the
    /// Randoms that the handler's class, the classes around and within it and the handler's object hold. A Random kept
    /// elsewhere is out of reach; one made after the event is new. Guid.NewGuid asks the kernel each time.
    /// </summary>
    static class Fresh
    {
        const BindingFlags Statics = BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly;
        const BindingFlags Fields = BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly;

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        delegate void RandAdd(byte[] seed, int length, double entropy);

        public static void Randomness(Handler handler)
        {
            // What makes the seeds of new Randoms, and Random.Shared's part of this thread.
            Own(typeof(Random), null);
            foreach (Type t in typeof(Random).GetNestedTypes(BindingFlags.NonPublic))
            {
                foreach (FieldInfo f in t.GetFields(Statics).Where(f => f.Name == "t_random"))
                {
                    f.SetValue(null, null);
                }
            }
            Type outermost = handler.Type;
            while (outermost.DeclaringType != null)
            {
                outermost = outermost.DeclaringType;
            }
            Within(outermost, handler.Instance);
            for (Type t = handler.Type.BaseType; t != null && t != typeof(object); t = t.BaseType)
            {
                Own(t, handler.Instance);
            }
            OpenSsl();
        }

        static void Within(Type t, object instance)
        {
            Own(t, instance);
            foreach (Type inner in t.GetNestedTypes(BindingFlags.Public | BindingFlags.NonPublic))
            {
                Within(inner, instance);
            }
        }

        static void Own(Type t, object instance)
        {
            if (t.ContainsGenericParameters)
            {
                return;
            }
            foreach (FieldInfo f in t.GetFields(Statics | Fields).Where(f => typeof(Random).IsAssignableFrom(f.FieldType)))
            {
                if (f.IsStatic || t.IsInstanceOfType(instance))
                {
                    Reseed(f.GetValue(f.IsStatic ? null : instance) as Random);
                }
            }
        }

        /// <summary>Gives a generator the state of a new one.</summary>
        static void Reseed(Random old)
        {
            if (old == null || old.GetType() != typeof(Random))
            {
                return;
            }
            // From .NET 6 on a Random without a seed asks the kernel; before, it asked a generator in this process.
            Random fresh = Environment.Version.Major >= 6 ? new Random() : new Random(BitConverter.ToInt32(Guid.NewGuid().ToByteArray(), 0));
            foreach (FieldInfo f in typeof(Random).GetFields(Fields))
            {
                f.SetValue(old, f.GetValue(fresh));
            }
        }

        /// <summary>OpenSSL's generator, which RandomNumberGenerator uses, if it is in this process.</summary>
        static void OpenSsl()
        {
            string file = File.ReadLines("/proc/self/maps")
                .Where(line => line.Contains("/libcrypto.so"))
                .Select(line => line.Substring(line.IndexOf('/')))
                .FirstOrDefault();
            IntPtr library, add;
            if (file == null || !NativeLibrary.TryLoad(file, out library) || !NativeLibrary.TryGetExport(library, "RAND_add", out add))
            {
                return;
            }
            byte[] seed = Guid.NewGuid().ToByteArray().Concat(Guid.NewGuid().ToByteArray()).ToArray();
            Marshal.GetDelegateForFunctionPointer<RandAdd>(add)(seed, seed.Length, seed.Length);
        }
    }
}
