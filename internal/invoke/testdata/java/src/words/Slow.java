package words;

/** The same after an INIT of two seconds. */
public class Slow extends Words {
    public Slow() throws InterruptedException {
        Thread.sleep(2000);
    }
}
