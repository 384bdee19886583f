using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Runtime.ExceptionServices;
using System.Runtime.Loader;
using System.Threading.Tasks;

namespace She.Runtime
{
    /// <summary>
    /// The author's method and how it wants to be called: "Assembly::Namespace.Class::Method" of an instance or static,
    /// ([Stream or value][, ILambdaContext]) → Stream, value, nothing, or a task of these. Values are read and written by
    /// the serializer that the package names with Lambda's attribute, else as by Amazon's own.
    /// </summary>
    public sealed class Handler
    {
        const string SerializerAttribute = "Amazon.Lambda.Core.LambdaSerializerAttribute";
        const string SerializerInterface = "Amazon.Lambda.Core.ILambdaSerializer";

        public readonly Type Type;
        public readonly object Instance; // null for a static method
        readonly MethodInfo method;
        readonly object serializer; // null: the bootstrap's own

        Handler(Type type, object instance, MethodInfo method, object serializer)
        {
            Type = type;
            Instance = instance;
            this.method = method;
            this.serializer = serializer;
        }

        public static Handler Find(string name)
        {
            string[] parts = name.Split(new[] { "::" }, StringSplitOptions.None);
            if (parts.Length != 3 || parts.Any(p => p == "") || parts[0].Contains("/"))
            {
                throw new Fault("Runtime.MalformedHandlerName", "Bad handler '" + name + "': want Assembly::Namespace.Class::Method");
            }
            Type type = Load(parts[0], parts[1]);
            MethodInfo method = Choose(type, parts[2]);
            object serializer = SerializerOf(method);
            if (method.IsStatic)
            {
                return new Handler(type, null, method, serializer);
            }
            ConstructorInfo make = type.GetConstructor(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic, null, Type.EmptyTypes, null);
            if (type.IsAbstract || make == null)
            {
                throw new Fault("Runtime.HandlerNotFound", "Class " + type.FullName + " can't be made: it needs a constructor without arguments");
            }
            return new Handler(type, Unwrapped(() => make.Invoke(null)), method, serializer);
        }

        static Type Load(string assembly, string type)
        {
            string root = Environment.GetEnvironmentVariable("LAMBDA_TASK_ROOT");
            string file = Path.Combine(root, assembly + ".dll");
            if (!File.Exists(file))
            {
                throw new Fault("Runtime.ImportModuleError", "Could not find the file " + assembly + ".dll in the package");
            }
            // It reads the .deps.json beside the assembly, which lists its parts, native and culture-specific ones too.
            var parts = new AssemblyDependencyResolver(file);
            AssemblyLoadContext all = AssemblyLoadContext.Default;
            all.Resolving += (context, wanted) =>
            {
                string at = parts.ResolveAssemblyToPath(wanted) ?? Path.Combine(root, wanted.Name + ".dll");
                return File.Exists(at) ? context.LoadFromAssemblyPath(at) : null;
            };
            all.ResolvingUnmanagedDll += (from, wanted) =>
            {
                string at = parts.ResolveUnmanagedDllToPath(wanted);
                return at == null ? IntPtr.Zero : System.Runtime.InteropServices.NativeLibrary.Load(at);
            };
            Type found;
            try
            {
                found = all.LoadFromAssemblyPath(file).GetType(type, false);
            }
            catch (Exception e) when (e is FileNotFoundException || e is FileLoadException || e is BadImageFormatException || e is TypeLoadException)
            {
                throw new Fault("Runtime.ImportModuleError", "Unable to load " + assembly + ".dll: " + e.Message, e);
            }
            if (found == null)
            {
                throw new Fault("Runtime.ImportModuleError", "Unable to find type '" + type + "' in " + assembly + ".dll");
            }
            return found;
        }

        static MethodInfo Choose(Type type, string name)
        {
            const BindingFlags any = BindingFlags.Instance | BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.FlattenHierarchy;
            MethodInfo[] named = type.GetMethods(any).Where(m => m.Name == name).ToArray();
            MethodInfo best = named.Where(m => !m.ContainsGenericParameters && !m.IsAbstract && Plain(m).Length <= 1)
                .OrderByDescending(m => m.GetParameters().Length)
                .FirstOrDefault();
            if (best == null)
            {
                throw new Fault("Runtime.HandlerNotFound", named.Length == 0
                    ? "Unable to find method '" + name + "' in type '" + type.FullName + "'"
                    : "Method '" + name + "' of type '" + type.FullName + "' takes something else than ([value][, ILambdaContext])");
            }
            return best;
        }

        static bool IsContext(ParameterInfo p)
        {
            return p.ParameterType.IsInterface && p.ParameterType.Name == "ILambdaContext";
        }

        static ParameterInfo[] Plain(MethodInfo m)
        {
            ParameterInfo[] all = m.GetParameters();
            return all.Length > 0 && IsContext(all[all.Length - 1]) ? all.Take(all.Length - 1).ToArray() : all;
        }

        /// <summary>The serializer named at the method, else at its assembly.</summary>
        static object SerializerOf(MethodInfo m)
        {
            CustomAttributeData named = m.GetCustomAttributesData().Concat(m.Module.Assembly.GetCustomAttributesData())
                .FirstOrDefault(a => a.AttributeType.FullName == SerializerAttribute);
            return named == null ? null : Unwrapped(() => Activator.CreateInstance((Type)named.ConstructorArguments[0].Value));
        }

        /// <summary>What an invoked method throws, instead of that it threw.</summary>
        static object Unwrapped(Func<object> call)
        {
            try
            {
                return call();
            }
            catch (TargetInvocationException e)
            {
                ExceptionDispatchInfo.Capture(e.InnerException).Throw();
                throw;
            }
        }

        /// <summary>Readies the serializer with a value that says nothing.</summary>
        public void Warm()
        {
            ParameterInfo[] plain = Plain(method);
            if (serializer == null && plain.Length == 1 && plain[0].ParameterType != typeof(Stream))
            {
                Values.Write(Values.Read(new[] { (byte)'{', (byte)'}' }, typeof(object)), typeof(object));
            }
        }

        /// <summary>The answer to one event, as it goes out.</summary>
        public byte[] Call(byte[] @event, IDictionary<string, string> headers)
        {
            object[] args = method.GetParameters().Select(p =>
                IsContext(p) ? Invocation.As(p.ParameterType, headers)
                : p.ParameterType == typeof(Stream) ? new MemoryStream(@event)
                : Value(@event, p.ParameterType)).ToArray();
            object answer = Unwrapped(() => method.Invoke(Instance, args));
            Type type = method.ReturnType;
            if (type.FullName.StartsWith("System.Threading.Tasks.ValueTask", StringComparison.Ordinal))
            {
                answer = type.GetMethod("AsTask").Invoke(answer, null);
                type = type.GetMethod("AsTask").ReturnType;
            }
            if (typeof(Task).IsAssignableFrom(type))
            {
                var task = answer as Task;
                if (task == null)
                {
                    throw new Fault("Runtime.MarshalError", "The handler gave no task");
                }
                task.GetAwaiter().GetResult();
                type = type.IsGenericType ? type.GetGenericArguments()[0] : typeof(void);
                answer = type == typeof(void) ? null : task.GetType().GetProperty("Result").GetValue(task);
            }
            var stream = answer as Stream;
            if (stream != null)
            {
                var all = new MemoryStream();
                stream.CopyTo(all);
                return all.ToArray();
            }
            return Bytes(answer, type);
        }

        object Value(byte[] @event, Type type)
        {
            try
            {
                if (serializer == null)
                {
                    return Values.Read(@event, type);
                }
                MethodInfo read = serializer.GetType().GetInterface(SerializerInterface).GetMethod("Deserialize").MakeGenericMethod(type);
                return Unwrapped(() => read.Invoke(serializer, new object[] { new MemoryStream(@event) }));
            }
            catch (Exception e) when (!(e is OutOfMemoryException))
            {
                // The serializer's message may quote the event. That is the owner's data, so it stays in the error document.
                throw new Fault("Runtime.UnmarshalError", "The event is no " + type + ": " + e.Message, e);
            }
        }

        byte[] Bytes(object answer, Type type)
        {
            if (type == typeof(void))
            {
                return new[] { (byte)'n', (byte)'u', (byte)'l', (byte)'l' };
            }
            try
            {
                if (serializer == null)
                {
                    return Values.Write(answer, type);
                }
                var to = new MemoryStream();
                MethodInfo write = serializer.GetType().GetInterface(SerializerInterface).GetMethod("Serialize").MakeGenericMethod(type);
                Unwrapped(() => write.Invoke(serializer, new[] { answer, to }));
                return to.ToArray();
            }
            catch (Exception e) when (!(e is OutOfMemoryException))
            {
                throw new Fault("Runtime.MarshalError", "The answer has no JSON form: " + e.Message, e);
            }
        }
    }
}
