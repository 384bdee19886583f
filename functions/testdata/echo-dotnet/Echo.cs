// echo in C#: copies each record it is given, and links the copy to it.
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using System.Text.Json;
using System.Threading.Tasks;

namespace Echo
{
    public class Handlers
    {
        const string Asked = "{\"name\":\"echo-dotnet\",\"bundle\":{\"test/in\":{\"endpoints\":[{\"endpoint\":\"test/in\"}]}}}";

        public Stream Configuration(Stream from)
        {
            return Text("{\"id\":\"echo-dotnet\","
                + "\"info\":{\"version\":\"1.0.0\",\"versionReleaseDate\":\"2024-01-08T10:00:00.000Z\",\"name\":\"echo-dotnet\","
                + "\"headline\":\"A function for tests\",\"description\":{\"text\":\"A function for tests\"},"
                + "\"termsUrl\":\"https://example.org/terms\",\"supportContact\":\"tests@example.org\",\"dataPreview\":[],"
                + "\"graphics\":{\"banner\":{\"normal\":\"\"},\"logo\":{\"normal\":\"\"},\"screenshots\":[]}},"
                + "\"developer\":{\"id\":\"tests\",\"name\":\"Tests\",\"url\":\"https://example.org\"},"
                + "\"trigger\":{\"triggerType\":\"individual\"},\"dataBundle\":" + Asked + ","
                + "\"status\":{\"available\":true,\"enabled\":false}}");
        }

        public Stream Bundle(Stream from) { return Text(Asked); }

        static Stream Text(string json) { return new MemoryStream(Encoding.UTF8.GetBytes(json)); }

        public async Task<List<Dictionary<string, object>>> Process(JsonElement e)
        {
            await Task.Yield();
            return e.GetProperty("request").GetProperty("data").GetProperty("test/in").EnumerateArray().Select(r => new Dictionary<string, object> {
                { "namespace", "test" }, { "endpoint", "out" },
                { "data", new[] { new Dictionary<string, object> { { "of", r.GetProperty("recordId") }, { "data", r.GetProperty("data") } } } },
                { "linkedRecords", new[] { r.GetProperty("recordId") } },
            }).ToList();
        }
    }
}
