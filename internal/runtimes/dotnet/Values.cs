using System;
using System.Collections.Generic;
using System.IO;
using System.Reflection;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace She.Runtime
{
    /// <summary>
    /// JSON to and from what a handler is declared with, where its package names no serializer: as Amazon's
    /// DefaultLambdaJsonSerializer does it, which the projects' templates name.
    /// </summary>
    static class Values
    {
        static readonly JsonSerializerOptions options = Options();
        static readonly JsonWriterOptions written = new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

        static JsonSerializerOptions Options()
        {
            var o = new JsonSerializerOptions { PropertyNameCaseInsensitive = true, PropertyNamingPolicy = new Naming(), MaxDepth = 500 };
            o.Converters.Add(new Dates());
            o.Converters.Add(new Streams());
            o.Converters.Add(new Octets());
            // From .NET 5 on, null is left out when writing; before, when reading too.
            PropertyInfo ignore = typeof(JsonSerializerOptions).GetProperty("DefaultIgnoreCondition");
            if (ignore != null)
            {
                ignore.SetValue(o, Enum.Parse(ignore.PropertyType, "WhenWritingNull"));
            }
            else
            {
                typeof(JsonSerializerOptions).GetProperty("IgnoreNullValues").SetValue(o, true);
            }
            return o;
        }

        public static object Read(byte[] json, Type type)
        {
            return JsonSerializer.Deserialize(json, type, options);
        }

        public static byte[] Write(object value, Type type)
        {
            var to = new MemoryStream();
            using (var writer = new Utf8JsonWriter(to, written))
            {
                JsonSerializer.Serialize(writer, value, type, options);
            }
            return to.ToArray();
        }

        sealed class Naming : JsonNamingPolicy
        {
            public override string ConvertName(string name)
            {
                return name == "XAmzId2" ? "x-amz-id-2" : name == "XAmzRequestId" ? "x-amz-request-id" : name;
            }
        }

        /// <summary>Events of some services hold seconds since 1970, and milliseconds where those would be far ahead.</summary>
        sealed class Dates : JsonConverter<DateTime>
        {
            const long Year5000 = 157753180800;

            public override DateTime Read(ref Utf8JsonReader from, Type type, JsonSerializerOptions with)
            {
                DateTime date;
                long whole;
                double seconds;
                if (from.TokenType == JsonTokenType.String && from.TryGetDateTime(out date))
                {
                    return date;
                }
                if (from.TokenType == JsonTokenType.Number && from.TryGetInt64(out whole))
                {
                    return whole > Year5000 ? DateTime.UnixEpoch.AddMilliseconds(whole) : DateTime.UnixEpoch.AddSeconds(whole);
                }
                if (from.TokenType == JsonTokenType.Number && from.TryGetDouble(out seconds))
                {
                    return DateTime.UnixEpoch.AddSeconds(seconds);
                }
                throw new JsonException("a date is a text of ISO 8601 or a number of seconds");
            }

            public override void Write(Utf8JsonWriter to, DateTime date, JsonSerializerOptions with)
            {
                to.WriteStringValue(date);
            }
        }

        sealed class Streams : JsonConverter<MemoryStream>
        {
            public override MemoryStream Read(ref Utf8JsonReader from, Type type, JsonSerializerOptions with)
            {
                return new MemoryStream(Convert.FromBase64String(from.GetString()));
            }

            public override void Write(Utf8JsonWriter to, MemoryStream value, JsonSerializerOptions with)
            {
                to.WriteStringValue(Convert.ToBase64String(value.ToArray()));
            }
        }

        /// <summary>Read as base64 or as numbers, written as numbers.</summary>
        sealed class Octets : JsonConverter<byte[]>
        {
            public override byte[] Read(ref Utf8JsonReader from, Type type, JsonSerializerOptions with)
            {
                if (from.TokenType == JsonTokenType.Null)
                {
                    return null;
                }
                if (from.TokenType == JsonTokenType.String)
                {
                    return from.GetBytesFromBase64();
                }
                if (from.TokenType != JsonTokenType.StartArray)
                {
                    throw new JsonException("bytes are a text in base64 or an array of numbers");
                }
                var all = new List<byte>();
                while (from.Read() && from.TokenType == JsonTokenType.Number)
                {
                    all.Add(from.GetByte());
                }
                if (from.TokenType != JsonTokenType.EndArray)
                {
                    throw new JsonException("bytes are a text in base64 or an array of numbers");
                }
                return all.ToArray();
            }

            public override void Write(Utf8JsonWriter to, byte[] value, JsonSerializerOptions with)
            {
                to.WriteStartArray();
                foreach (byte b in value)
                {
                    to.WriteNumberValue(b);
                }
                to.WriteEndArray();
            }
        }
    }
}
