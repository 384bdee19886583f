using System.Collections.Generic;
using System.Linq;

namespace Tests
{
    // Counts the words of notes, as the other languages of the benchmarks do.
    public class Words
    {
        public class Event
        {
            public Bundle Data { get; set; }
        }

        public class Bundle
        {
            public List<Note> Notes { get; set; }
        }

        public class Note
        {
            public Text Data { get; set; }
        }

        public class Text
        {
            public string Message { get; set; }
        }

        public int Handle(Event e)
        {
            return e.Data.Notes.Sum(note => note.Data.Message.Split(' ').Length);
        }
    }

    // The same after an INIT of two seconds.
    public class SlowWords : Words
    {
        public SlowWords() { System.Threading.Thread.Sleep(2000); }
    }
}
