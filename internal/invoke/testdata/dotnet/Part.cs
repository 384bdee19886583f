namespace Part
{
    /// <summary>In an assembly of its own beside the function's.</summary>
    public static class Other
    {
        public static string Value { get { return "part"; } }
    }
}
