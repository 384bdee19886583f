using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;

namespace Tests
{
    /// <summary>Values of every kind, read and written by what the runtime takes where no serializer is named.</summary>
    public class Answers
    {
        public enum Kind { Walk, Run }

        public class Bean
        {
            public string Text { get; set; }
            public string XAmzId2 { get; set; }
            public string XAmzRequestId { get; set; }
            public int? Count { get; set; }
            public double? Ratio { get; set; }
            public decimal? Sum { get; set; }
            public bool? Done { get; set; }
            public DateTime? When { get; set; }
            public DateTimeOffset? At { get; set; }
            public Guid? Id { get; set; }
            public Kind? Kind { get; set; }
            public byte[] Octets { get; set; }
            public MemoryStream Stream { get; set; }
            public List<int> Numbers { get; set; }
            public Dictionary<string, int> Counts { get; set; }
            public object Any { get; set; }
            public Bean Inner { get; set; }
        }

        public Stream Read(Bean bean) { return new MemoryStream(Encoding.UTF8.GetBytes(Told(bean))); }

        static string Told(Bean bean)
        {
            return bean == null ? "null" : string.Join(" ", typeof(Bean).GetProperties()
                .Where(p => p.GetValue(bean) != null).Select(p => p.Name + "=" + Text(p.GetValue(bean))));
        }

        static string Text(object v)
        {
            var octets = v is MemoryStream ? ((MemoryStream)v).ToArray() : v as byte[];
            if (octets != null)
            {
                return BitConverter.ToString(octets);
            }
            if (v is DateTime)
            {
                return ((DateTime)v).ToString("o");
            }
            if (v is DateTimeOffset)
            {
                return ((DateTimeOffset)v).ToString("o");
            }
            if (v is List<int>)
            {
                return string.Join(",", (List<int>)v);
            }
            if (v is Dictionary<string, int>)
            {
                return string.Join(",", ((Dictionary<string, int>)v).Select(e => e.Key + ":" + e.Value));
            }
            return v is Bean ? "{" + Told((Bean)v) + "}" : v.ToString();
        }

        public Bean Write(string which)
        {
            var when = new DateTime(2024, 1, 2, 3, 4, 5, DateTimeKind.Utc);
            switch (which)
            {
                case "nothing": return new Bean();
                case "zero": return new Bean { Count = 0 };
                case "text": return new Bean { Text = "Grüße <b>&amp;+' \"\\\n\u0001" };
                case "beyond": return new Bean { Text = "\ud83d\ude00" };
                case "half": return new Bean { Text = "\ud83d" };
                case "name": return new Bean { XAmzId2 = "a" };
                case "utc": return new Bean { When = when };
                case "day": return new Bean { When = new DateTime(2024, 1, 2) };
                case "ticks": return new Bean { When = when.AddTicks(1234567) };
                case "offset": return new Bean { At = new DateTimeOffset(2024, 1, 2, 3, 4, 5, TimeSpan.FromHours(2)) };
                case "octets": return new Bean { Octets = new byte[] { 1, 2, 255 } };
                case "stream": return new Bean { Stream = new MemoryStream(new byte[] { 1, 2, 255 }) };
                case "kind": return new Bean { Kind = Kind.Run };
                case "decimal": return new Bean { Sum = 0.10m };
                case "ratio": return new Bean { Ratio = 0.1 };
                case "whole": return new Bean { Ratio = 1 };
                case "nan": return new Bean { Ratio = double.NaN };
                case "infinite": return new Bean { Ratio = double.PositiveInfinity };
                case "numbers": return new Bean { Numbers = new List<int> { 1, 2 } };
                case "counts": return new Bean { Counts = new Dictionary<string, int> { { "B", 1 }, { "a", 0 } } };
                case "inner": return new Bean { Inner = new Bean { Count = 3 } };
                case "cycle":
                    var bean = new Bean();
                    bean.Inner = bean;
                    return bean;
                default: return null;
            }
        }
    }
}
