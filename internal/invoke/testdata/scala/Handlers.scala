package scalas

import java.io.{InputStream, OutputStream}
import java.util.{Map => JavaMap}
import com.amazonaws.services.lambda.runtime.{Context, RequestHandler, RequestStreamHandler}
import scala.collection.JavaConverters._

// What authors write in Scala: collections of its own inside, Java's at the border, or streams.

class Words extends RequestHandler[JavaMap[String, AnyRef], JavaMap[String, AnyRef]] {
  private val stop = Set("the", "a")

  def handleRequest(event: JavaMap[String, AnyRef], context: Context): JavaMap[String, AnyRef] = {
    val counts = event.asScala.getOrElse("text", "").toString.toLowerCase.split("\\W+").toSeq
      .filterNot(w => w.isEmpty || stop(w)).groupBy(identity).mapValues(_.size)
    println(s"counted ${counts.size}")
    Map[String, AnyRef]("counts" -> counts.map { case (w, n) => w -> Int.box(n) }.asJava, "function" -> context.getFunctionName).asJava
  }
}

class Raw extends RequestStreamHandler {
  def handleRequest(in: InputStream, out: OutputStream, context: Context): Unit =
    out.write(scala.io.Source.fromInputStream(in, "UTF-8").mkString.reverse.getBytes("UTF-8"))
}

object Alone { // its methods are static ones of a class with its name
  lazy val primes: Stream[Int] = 2 #:: Stream.from(3).filter(n => primes.takeWhile(p => p * p <= n).forall(n % _ > 0))

  def primesUpTo(n: Int): java.util.List[Int] = primes.takeWhile(_ <= n).toList.asJava

  def fails(n: Int): String = n match { case 0 => "none" } // MatchError is of Scala's library
}
