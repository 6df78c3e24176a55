// Follows the program for Node in the README: a token a line comes in, and what became of it goes out.
import { createInterface } from "node:readline"

for await (const token of createInterface({ input: process.stdin })) {
  try {
    console.log(await userOf(token))
  } catch (error) {
    console.log(`refused: ${error.code ?? error.message}`)
  }
}
